"""Encoders of texts: an architecture of `transformers`, a pooler, a projection."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.engine import UserError, World, require_count
from experiments.parts.text import Tokens

CHUNK = 256
"""Texts that are embedded at a time."""
PATIENCE = 5.0
"""Seconds to wait for the hub's first answer."""
FILES = ("config.json", "model.safetensors", "tokenizer.json")


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
        nn.init.normal_(self.projection.weight, std=width**-0.5)

    def forward(self, tokens: Tokens) -> Tensor:
        """Embeddings `[N, D]` of length 1."""
        mask = tokens.mask
        hidden = self.encoder(input_ids=tokens.ids, attention_mask=mask.long()).last_hidden_state
        return F.normalize(self.projection(mean(hidden, mask)), dim=-1)


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean over the positions `[N, L]` of the text, `[N, H]` of `[N, L, H]`."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


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


def new_encoder(sizes: Mapping[str, Any], vocabulary: int, length: int) -> Any:
    """An encoder with random weights, of an architecture that is an encoder alone; tested with bert.

    Args:
        sizes: `model_type` and what else the configuration of that architecture has, such as `hidden_size`.
        vocabulary: the number of tokens; the first, 0, pads.
        length: of the longest text in tokens.

    Raises:
        UserError: where `transformers` has no such architecture, or the architecture no such size.
    """
    from transformers import CONFIG_MAPPING, AutoModel

    kind = sizes.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise UserError(f"model.encoder.model_type={kind} is no architecture of transformers; give one, such as bert.")
    known = CONFIG_MAPPING[kind]().to_dict()
    unknown = sorted(sizes.keys() - known.keys())
    if unknown:
        raise UserError(f"model.encoder.{unknown[0]} is nothing that {kind} has; leave it out.")
    own = {"vocab_size": vocabulary, "pad_token_id": 0}
    if "max_position_embeddings" in known:
        own["max_position_embeddings"] = length
    config = CONFIG_MAPPING[kind](**own | {name: size for name, size in sizes.items() if name != "model_type"})
    return _plain(AutoModel.from_config(config), length)


def pretrained_encoder(folder: Path, length: int) -> Any:
    """The encoder whose weights are in a folder, as `save_pretrained` writes them."""
    from transformers import AutoModel

    level = logging.getLogger("transformers").level
    logging.getLogger("transformers").setLevel(logging.ERROR)  # of the pooler that is left out, it warns at length
    try:
        return _plain(AutoModel.from_pretrained(folder, local_files_only=True), length)
    finally:
        logging.getLogger("transformers").setLevel(level)


def pretrained_folder(name: str) -> Path:
    """Where pretrained weights and their tokenizer lie: a folder, or one that a model on the hub is fetched to, once.

    Raises:
        UserError: where there are none, or the hub does not answer within seconds.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        from huggingface_hub import HfApi, snapshot_download

        try:
            folder = Path(snapshot_download(name, allow_patterns=FILES, local_files_only=True))
        except Exception:
            try:
                HfApi().model_info(name, timeout=PATIENCE)  # or a hub that is silent would be waited for without end
                folder = Path(snapshot_download(name, allow_patterns=FILES))
            except Exception as error:
                raise UserError(
                    f"model.pretrained={name} is no folder here, and cannot be fetched from the Hugging Face hub "
                    f"({_first_line(error)}); name a folder with {', '.join(FILES)}, or connect this machine."
                ) from error
    missing = [file for file in FILES if not (folder / file).exists()]
    if missing:
        raise UserError(f"{folder} has no {missing[0]}, which model.pretrained={name} needs; name another folder.")
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
