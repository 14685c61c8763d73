"""Text in, text out: encoders with decoders of `transformers`, T5 (Raffel et al. 2020, arXiv 1910.10683) above all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.data.entity_facts import MASK, Corpus
from experiments.engine import World
from experiments.errors import UserError
from experiments.parts.architectures import configuration
from experiments.parts.extras import require_extra
from experiments.parts.reader import Reader
from experiments.parts.starts import NetworkModel, started
from experiments.parts.text import Tokens
from experiments.parts.towers import pretrained_folder, quietly

FILES = (
    ("config.json",),
    ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"),
    ("tokenizer.json", "spiece.model"),
)
"""Of pretrained weights; T5 1.1 has the older ones."""
SENTINELS = 32
"""Of a tokenizer that is trained."""
CHUNK = 128
"""Texts that are completed or judged at a time."""


class Encoded(NamedTuple):
    """What a decoder reads."""

    hidden: Tensor
    """`[N, L, D]`."""
    mask: Tensor
    """bool `[N, L]`, where there is text."""


class LanguageModel(NetworkModel):
    """A model that completes texts, whose sentinel tokens stand for the parts that are left out.

    Args:
        sizes: of a new model: `model_type` and what else the configuration of that architecture has.
        pretrained: a folder, or a name on the Hugging Face hub, with weights and their tokenizer, in the place of
            `sizes`.
        start: the folder of a run whose task has a language model as its `model`, which is started from, with its
            tokenizer, in the place of `sizes`.
        vocabulary: the number of tokens, for a new model; the first, 0, pads, and 2 ends a text, as a `Reader` with
            sentinels has them.
        setting: the place of `sizes` in the configuration, for refusals.

    Raises:
        UserError: where the extra `systems` is missing, or the parts do not fit together.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        pretrained: str | None = None,
        start: str | None = None,
        *,
        vocabulary: int,
        setting: str = "model.sizes",
    ) -> None:
        super().__init__(pretrained, start)
        from transformers import AutoModelForSeq2SeqLM

        if pretrained is not None:
            self.network, self.tokenizer = _pretrained(pretrained)
        elif start is not None:
            self.network, self.tokenizer = started(start, AutoModelForSeq2SeqLM.from_config)
        else:
            self.network, self.tokenizer = _new(sizes, vocabulary, setting), ""

    @property
    def padding(self) -> int:
        """The id of the token that pads."""
        return int(self.network.config.pad_token_id or 0)

    @property
    def width(self) -> int:
        """D, of token embeddings."""
        return int(self.network.config.hidden_size)

    def encode(self, texts: Tokens, prompts: Tensor | None = None) -> Encoded:
        """Read texts `[N, L]`, after soft prompts `[N, P, D]` in the place of token embeddings, if there are any."""
        embedded, mask = self.network.get_input_embeddings()(texts.ids), texts.mask
        if prompts is not None:
            embedded = torch.cat((prompts.to(embedded.dtype), embedded), 1)
            mask = torch.cat((mask.new_ones(prompts.shape[:2]), mask), 1)
        hidden = self.network.get_encoder()(inputs_embeds=embedded, attention_mask=mask.long()).last_hidden_state
        return Encoded(hidden, mask)

    def log_probability(self, encoded: Encoded, answers: Tokens) -> Tensor:
        """Of answers `[N, A]`, token by token, their ends included: `[N]`, in nats."""
        network, labels = self.network, answers.ids.masked_fill(~answers.mask, self.padding)
        found = network(
            encoder_outputs=(encoded.hidden,),
            attention_mask=encoded.mask.long(),
            decoder_input_ids=network.prepare_decoder_input_ids_from_labels(labels),  # not as labels: no second softmax
            use_cache=False,
        )
        nats = F.cross_entropy(found.logits.transpose(1, 2), labels, reduction="none")
        return -(nats * answers.mask).sum(-1)

    @torch.no_grad()
    def complete(self, encoded: Encoded, length: int) -> Tensor:
        """The likeliest token after the other, at most `length` of them: ids `[N, A]`, padded behind the end."""
        from transformers.modeling_outputs import BaseModelOutput

        return self.network.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.hidden),
            attention_mask=encoded.mask.long(),
            max_new_tokens=length,
            do_sample=False,
            num_beams=1,
        )[:, 1:]


def read_columns(
    reader: Reader, model: LanguageModel, corpus: Corpus, columns: Sequence[Sequence[str]], progress: bool, world: World
) -> None:
    """Read columns of texts by the model's tokenizer, or by one that is trained on the corpus.

    Args:
        reader: that reads.
        model: its texts' model.
        corpus: of the tokenizer.
        columns: of texts.
        progress: whether to show how far it is.
        world: the processes.
    """
    stated = (text.replace(MASK, "") for pair in corpus.statements for text in pair)
    trained_on = () if model.tokenizer else (*corpus.train, *corpus.judged, *corpus.names, *stated)
    reader.begin(columns, trained_on, model.tokenizer, corpus.cache, model.padding, model.subwords, world, progress)


@torch.no_grad()
def said(reader: Reader, model: LanguageModel, texts: Tokens, length: int, prompts: Tensor | None = None) -> list[str]:
    """What the model says of texts `[N]` in at most `length` tokens, after soft prompts `[N, P, D]` if there are."""
    found: list[str] = reader.own.decode_batch(model.complete(model.encode(texts, prompts), length).tolist())
    return found


def _new(sizes: Mapping[str, Any], vocabulary: int, setting: str) -> Any:
    from transformers import AutoModelForSeq2SeqLM

    fixed = {"vocab_size": vocabulary, "pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 2}
    config = configuration(setting, sizes, "t5", fixed)
    if type(config) not in AutoModelForSeq2SeqLM._model_mapping:
        raise UserError(f"{setting}.model_type={sizes['model_type']} does not have an encoder and a decoder; give t5.")
    return AutoModelForSeq2SeqLM.from_config(config)


def _pretrained(name: str) -> tuple[Any, str]:
    """Weights, and their tokenizer as JSON."""
    from tokenizers import Tokenizer
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = pretrained_folder(name, files=FILES)
    own = folder / FILES[2][0]
    if not own.exists():  # or transformers asks for tiktoken, which does not help
        require_extra("systems", "sentencepiece", "google.protobuf")
    try:
        with quietly():
            network = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True)
            made = None if own.exists() else AutoTokenizer.from_pretrained(folder, local_files_only=True)
            tokenizer = Tokenizer.from_file(str(own)) if made is None else made.backend_tokenizer
    except Exception as error:  # of many packages, each with exceptions of its own
        said = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(f"model.pretrained={name} cannot be read ({said}); name a model such as T5 1.1.") from error
    return network, tokenizer.to_str()
