"""The decoder that is adapted: a causal language model, new, pretrained, or trained by a run on definitions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from experiments.errors import UserError
from experiments.parts.architectures import configuration
from experiments.parts.decoders import new_decoder, pretrained_decoder
from experiments.parts.starts import NetworkModel, started
from experiments.systems.gemma_encoder.streams import Stream

END = 2
"""Of a tokenizer that is trained: what ends a text, and begins a stream as well, as in GPT-2."""


class Decoder(NetworkModel):
    """A causal language model.

    Args:
        sizes: of a new one: `model_type` and what else the configuration of that architecture has.
        pretrained: a folder, a name on the Hugging Face hub, a file of GGUF, or SmolLM2-135M-Instruct, with weights and
            their tokenizer, in the place of `sizes`.
        start: the folder of a run of `DecoderTask`, which is started from, with its tokenizer, in the place of `sizes`.
        untrained: whether weights are random all the same: a control, with the tokenizer of what is started from.
        vocabulary: the number of tokens, for a new one.
        length: of the longest stream in tokens.

    Raises:
        UserError: where the extra `systems` is missing, or the parts do not fit together.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        pretrained: str | None = None,
        start: str | None = None,
        untrained: bool = False,
        *,
        vocabulary: int,
        length: int,
    ) -> None:
        super().__init__(pretrained, start)
        if not isinstance(untrained, bool):
            raise UserError(f"model.untrained is true or false, not {untrained!r}.")
        if pretrained is not None:
            self.network, self.tokenizer = pretrained_decoder(pretrained)
        elif start is not None:
            self.network, self.tokenizer = started(start, partial(new_decoder, setting="model.sizes"))
        else:
            fixed = {"vocab_size": vocabulary, "pad_token_id": 0, "bos_token_id": END, "eos_token_id": END}
            possible = {"max_position_embeddings": length}
            self.network = new_decoder(configuration("model.sizes", sizes, "gemma", fixed, possible), "model.sizes")
            self.tokenizer = ""
        if untrained:
            self.network = new_decoder(self.network.config, "model.sizes")
        self.begin, self.end, self.pad = _marks(self.network.config)
        most = getattr(self.network.config, "max_position_embeddings", length)
        if length > most:
            raise UserError(f"task.length makes streams of {length} tokens, and the decoder takes {most}; give less.")

    @property
    def padding(self) -> int:
        """The id of the token that pads."""
        return self.pad

    def nats(self, stream: Stream) -> Tensor:
        """Minus the log-probability of every token behind the first, `[N, L - 1]`; 0 where it pads."""
        found = self.network(input_ids=stream.ids, attention_mask=stream.mask.long(), use_cache=False)
        nats = F.cross_entropy(found.logits[:, :-1].transpose(1, 2), stream.ids[:, 1:], reduction="none")
        return nats * stream.mask[:, 1:]


def _marks(config: Any) -> tuple[int, int, int]:
    """What begins a stream, what ends a text, what pads; of several that end one, the first."""
    end = config.eos_token_id
    end = end[0] if isinstance(end, list | tuple) else end
    begin = config.bos_token_id if config.bos_token_id is not None else end
    if begin is None:
        raise UserError("the decoder has neither a token that begins nor one that ends a text; name another.")
    return int(begin), int(begin if end is None else end), int(config.pad_token_id or 0)
