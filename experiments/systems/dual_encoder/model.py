"""A tower for queries and one for documents, in the setting of Dual Encoders (arXiv 2204.07120)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experiments.errors import UserError
from experiments.parts.modules import parameters_of_modules, tie
from experiments.parts.starts import saved, take
from experiments.parts.text import Tokens
from experiments.parts.towers import TextModel, Tower, new_encoder, pretrained_start

SHARED = {"sde": None, "ade": (), "ade_ste": ("embedder",), "ade_fte": (), "ade_spl": ("projection",)}
"""The paper's variants: which modules the towers share; None: all."""


class Start(NamedTuple):
    """What both towers start from."""

    encoder: Any
    tokenizer: str
    """As JSON; empty: to be trained."""
    seed: int | None = None
    """Of the run that is started from."""


class DualEncoder(TextModel):
    """Queries and documents as unit vectors.

    Args:
        encoder: sizes of a new encoder; see `new_encoder`.
        dimensions: D, of the embeddings.
        variant: what the towers share. sde: all, one tower; ade: nothing; ade_ste: the embedder of tokens; ade_fte:
            nothing, and the embedders are frozen; ade_spl: the projection; or the modules' names with + between them,
            such as embedder+layer1. What is not shared starts from the same weights all the same, but for projections,
            which are random, and two of them are so apart.
        pretrained: a folder, or a name on the Hugging Face hub, with the encoder's weights and their tokenizer, in the
            place of `encoder`.
        start: the folder of a run of this system, whose query tower's encoder and tokenizer are started from; it has
            the sizes of `encoder`. With its own seed too, projections are others than it had.
        vocabulary: the number of tokens, for a new encoder.
        length: of the longest text in tokens.
        trigrams: see `new_encoder`.

    Raises:
        UserError: where the extra `systems` is missing, or the parts do not fit together.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any],
        dimensions: int,
        variant: str = "sde",
        pretrained: str | None = None,
        start: str | None = None,
        *,
        vocabulary: int,
        length: int,
        trigrams: int | None = None,
    ) -> None:
        super().__init__(pretrained, start)
        if pretrained is not None:
            found = Start(*pretrained_start(pretrained, length))
        else:
            new = new_encoder(encoder, vocabulary, length, trigrams)
            found = Start(new, "") if start is None else _started(new, start)
        self.tokenizer = found.tokenizer
        self.query_tower = Tower(found.encoder, dimensions)
        if found.seed == torch.initial_seed():  # or it would be the very projection that the start has learned with
            self.query_tower.draw_projection()
        self.modules_of_towers = parameters_of_modules(
            self.query_tower, self.query_tower.encoder, self.query_tower.projection
        )
        """The names of a tower's parameters, by module."""
        self.shared = self._shared(variant)
        """The modules that the towers share, in their order."""
        self.document_tower = self._document_tower(dimensions)
        if variant == "ade_fte":
            for tower in (self.query_tower, self.document_tower):
                tower.encoder.get_input_embeddings().requires_grad_(False)

    def forward(self, queries: Tokens, documents: Tokens) -> tuple[Tensor, Tensor]:
        """Embeddings of both, `[B, D]`."""
        return self.query_tower(queries), self.document_tower(documents)

    def _shared(self, variant: str) -> tuple[str, ...]:
        modules = tuple(self.modules_of_towers)
        if variant in SHARED:
            named = SHARED[variant]
            return modules if named is None else named
        parts = str(variant).split("+")
        unknown = [part for part in parts if part not in modules]
        if unknown:
            raise UserError(
                f"model.variant={variant} is none of {', '.join(SHARED)}, and {unknown[0]!r} is no module of the "
                f"towers; their modules, to be joined by +, are {', '.join(modules)}."
            )
        return tuple(module for module in modules if module in parts)

    def _document_tower(self, dimensions: int) -> Tower:
        if len(self.shared) == len(self.modules_of_towers):
            return self.query_tower
        tower = Tower(copy.deepcopy(self.query_tower.encoder), dimensions)
        for module in self.shared:
            tie(tower, self.query_tower, self.modules_of_towers[module])
        return tower


def _started(encoder: Any, folder: str) -> Start:
    weights, tokenizer, seed = saved("model.start", folder, "model.query_tower.encoder.")
    take("model.start", folder, encoder, weights)
    return Start(encoder, tokenizer, seed)
