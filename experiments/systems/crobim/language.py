"""The expression, read with and without prompts that have seen the image (CAPM)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.errors import UserError
from experiments.parts.architectures import configuration
from experiments.parts.towers import mean
from experiments.systems.crobim.attention import Block, tokens

CONTEXT = 2
"""Cells of every map, along and across, that prompts look at."""


class Words(NamedTuple):
    """Expressions by the numbers of their words."""

    ids: Tensor
    """int64 `[B, L]`; 0 behind the end."""

    @property
    def mask(self) -> Tensor:
        """bool `[B, L]`, where there are words."""
        return self.ids > 0

    @classmethod
    def of(cls, texts: Sequence[str], known: Mapping[str, int], length: int) -> Words:
        """Of texts, by a vocabulary whose numbers begin at 2; 1 is a word that is not in it."""
        rows = [[known.get(word, 1) for word in text.lower().split()][:length] for text in texts]
        return cls(torch.tensor([row + [0] * (length - len(row)) for row in rows]))


class Read(NamedTuple):
    """An expression, word by word."""

    words: Tensor
    """F_t, `[B, L, D]`: read alone."""
    mask: Tensor
    """bool `[B, L]`."""
    prompted: Tensor
    """F_tp, `[B, P + L, D]`: read behind prompts that have seen the image; F_t without them."""
    prompted_mask: Tensor

    @property
    def whole(self) -> Tensor:
        """`[B, D]`: the mean of what was read together with the prompts."""
        return mean(self.prompted, self.prompted_mask)


class TextEncoder(nn.Module):
    """Words, and prompts that have looked at the image, to features of both.

    Args:
        sizes: of an encoder of `transformers`: `model_type` and what else its configuration has.
        vocabulary: the number of words.
        width: D, of the features.
        prompts: P, context-aware prompts (CAPM); 0: none.

    Raises:
        UserError: where `transformers` has no such encoder.
    """

    def __init__(self, sizes: Mapping[str, Any], vocabulary: int, width: int, prompts: int) -> None:
        from transformers import AutoModel

        super().__init__()
        config = configuration("model.text", sizes, "bert", {"vocab_size": vocabulary + 2, "pad_token_id": 0})
        if getattr(config, "is_encoder_decoder", False):
            raise UserError(f"model.text.model_type={sizes['model_type']} is no encoder of texts; give one, as bert.")
        self.encoder = AutoModel.from_config(config)
        hidden = int(config.hidden_size)
        self.out = nn.Linear(hidden, width)
        self.prompts = nn.Parameter(0.02 * torch.randn(prompts, width)) if prompts else None
        self.look = Block(width) if prompts else None
        self.into = nn.Linear(width, hidden) if prompts else None
        for name, own in self.named_parameters():
            own.requires_grad_("pooler" not in name)  # which nothing reads

    def forward(self, words: Words, maps: Sequence[Tensor]) -> Read:
        """Expressions `[B, L]`, with maps `[B, D, h, w]` of their images at all scales."""
        embedded = self.encoder.get_input_embeddings()(words.ids)
        alone = self._read(embedded, words.mask)
        if self.prompts is None or self.look is None or self.into is None:
            return Read(alone, words.mask, alone, words.mask)
        context = torch.cat([tokens(F.adaptive_avg_pool2d(features, CONTEXT)) for features in maps], 1)
        prompts = self.look(self.prompts.expand(len(context), *self.prompts.shape), context)
        there = words.mask.new_ones(prompts.shape[:2])
        mask = torch.cat((there, words.mask), 1)  # in front, where the length of the text does not move them
        return Read(alone, words.mask, self._read(torch.cat((self.into(prompts), embedded), 1), mask), mask)

    def _read(self, embedded: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = self.out(self.encoder(inputs_embeds=embedded, attention_mask=mask.long()).last_hidden_state)
        return found
