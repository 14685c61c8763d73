"""A decoder as an encoder: Gemma Encoder (Suganthan et al. 2025, arXiv 2503.02656)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.errors import UserError, require_number
from experiments.parts.towers import TextModel
from experiments.systems.gemma_encoder import poolers
from experiments.systems.gemma_encoder.decoder import Decoder
from experiments.systems.gemma_encoder.streams import Stream

MASKS = ("bidirectional", "causal")


class GemmaEncoder(TextModel):
    """A decoder whose weights all go on learning, a pooler, and a perceptron of one hidden layer.

    Args:
        sizes, pretrained, start, untrained: of the decoder; see `Decoder`.
        mask: bidirectional: every token sees all that do not pad; causal: those up to itself, as the decoder did.
        pooler, tokens, heads: see `poolers.make`.
        dropout: of what every attention and feed-forward block adds to the residual stream (Vaswani et al. 2017); the
            paper does not say where it is. The decoder has been trained without.
        vocabulary, length: see `Decoder`.
        outputs: numbers for each text.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        pretrained: str | None = None,
        start: str | None = None,
        untrained: bool = False,
        mask: str = "bidirectional",
        pooler: str = "mean",
        tokens: int = 1,
        heads: int = 4,
        dropout: float = 0.0,
        *,
        vocabulary: int,
        length: int,
        outputs: int,
    ) -> None:
        super().__init__(pretrained, start)
        if mask not in MASKS:
            raise UserError(f"model.mask is {' or '.join(MASKS)}, not {mask!r}.")
        require_number("model.dropout", dropout, least=0, below=1)
        own = Decoder(sizes, pretrained, start, untrained, vocabulary=vocabulary, length=length)
        self.tokenizer, self.begin, self.end, self.pad = own.tokenizer, own.begin, own.end, own.pad
        self.decoder, self.causal, self.dropout = own.network.base_model, mask == "causal", dropout
        self.width = int(self.decoder.config.hidden_size)
        self.pooler = poolers.make(pooler, self.width, tokens, heads)
        self.head = nn.Sequential(nn.Linear(self.width, self.width), nn.GELU(), nn.Linear(self.width, outputs))
        self._drop(dropout)
        self._refuse_other_masks()

    @property
    def padding(self) -> int:
        """The id of the token that pads."""
        return self.pad

    def hidden(self, stream: Stream, weights: Tensor | None = None) -> Tensor:
        """Hidden states `[N, L, H]`.

        Args:
            stream: the tokens.
            weights: `[N, L]` in [0, 1]: how much of each token the others read; None: all of it. A token of weight 0
                is, up to rounding, absent: what the others are is what they are in `read_only`.
        """
        return hidden_states(self.decoder, stream, self.causal, weights)

    def forward(self, stream: Stream, weights: Tensor | None = None) -> Tensor:
        """What is said of each row, `[N, outputs]`; see `hidden`."""
        found: Tensor = self.head(self.pooler(self.hidden(stream, weights), stream.mask, weights))
        return found

    def another(self) -> Any:
        """A copy of the decoder as it is now, without dropout."""
        found = copy.deepcopy(self.decoder)
        for module in found.modules():
            for key, hook in [*module._forward_hooks.items()]:
                if isinstance(hook, partial) and hook.func is _dropped:
                    del module._forward_hooks[key]
        return found

    def _drop(self, rate: float) -> None:
        if not rate:
            return
        blocks = [module for name, module in self.decoder.named_modules() if name.endswith((".self_attn", ".mlp"))]
        if not blocks:
            kind = self.decoder.config.model_type
            raise UserError(f"model.dropout={rate} is for architectures with blocks as Gemma's, not {kind}; give 0.")
        for block in blocks:
            block.register_forward_hook(partial(_dropped, rate))

    @torch.no_grad()
    def _refuse_other_masks(self) -> None:
        """Architectures may build masks of their own."""
        learning = self.training
        self.eval()
        marks = torch.tensor([[0, 0], [0, 1]])
        mask = torch.ones_like(marks, dtype=torch.bool)
        first, other = self.hidden(Stream(marks, torch.arange(2).expand(2, -1), mask, mask))[:, 0]
        self.train(learning)
        if torch.equal(first, other) != self.causal:
            kind = self.decoder.config.model_type
            raise UserError(f"{kind} does not take the mask that it is given; name a model such as Gemma or Llama.")


def hidden_states(decoder: Any, stream: Stream, causal: bool, weights: Tensor | None = None) -> Tensor:
    """A decoder's, under a mask of our own: `transformers` passes one of four dimensions on as it is.

    So an architecture's sliding windows are left out: masks are those of the paper, over all tokens.
    """
    length = stream.ids.shape[1]
    allowed = stream.mask.unsqueeze(1).expand(-1, length, -1)
    if causal:
        allowed = allowed.tril()
    dtype = decoder.get_input_embeddings().weight.dtype
    bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    if weights is not None:
        bias = bias + poolers.log_weights(weights).unsqueeze(1)
    bias = bias.masked_fill(~allowed, torch.finfo(dtype).min).unsqueeze(1)
    return decoder(
        input_ids=stream.ids, position_ids=stream.positions, attention_mask=bias, use_cache=False
    ).last_hidden_state


def _dropped(rate: float, module: nn.Module, inputs: Any, output: Any) -> Any:
    if not module.training:
        return output
    if isinstance(output, tuple):
        return (F.dropout(output[0], rate), *output[1:])
    return F.dropout(output, rate)
