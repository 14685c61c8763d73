"""Paths: points that carry the gradient themselves, as relaxed one-hots or straight-through ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from discretegrad.coupling import Drawn
from discretegrad.ops.inverse_cdf import categorical
from discretegrad.ops.noise import uniform
from discretegrad.ops.score import one_hot


class Path(ABC):
    """How points are made from logits and noise.

    The category logits `[*variables, C]` that a path is given have 0 as the largest of every row. f's gradient at a
    category of probability 0 does not reach it. A `temperature` is a number, or a tensor that broadcasts to
    `[*variables]`.
    """

    @abstractmethod
    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """From category logits `[*variables, C]`: one-hots that carry the gradient `[S, *variables, C]`, and ids."""


class OnPath(Drawn):
    """Points that a path has made.

    Args:
        indices, logits, mask: as for `Drawn`.
        relaxed: one-hots that carry the gradient, `[S, *variables, C]`.
        path: what made them; None where nobody says.
    """

    def __init__(
        self, indices: Tensor, logits: Tensor, mask: Tensor | None, relaxed: Tensor, path: Path | None = None
    ) -> None:
        super().__init__(indices, logits, mask)
        self.relaxed, self.path = relaxed, path


class DiscretePath(Path):
    """A path whose only noise is a plain draw of the ids, so that the oracle can enumerate it."""

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Ids are drawn, then their one-hots are given a gradient."""
        indices = draw(self.law(logits), num_samples, generator)
        return self.carry(logits, indices), indices

    def law(self, logits: Tensor) -> Tensor:
        """The category logits that ids are drawn from: the logits themselves."""
        return logits

    @abstractmethod
    def carry(self, logits: Tensor, indices: Tensor) -> Tensor:
        """The one-hots `[S, *variables, C]` of the ids, with a gradient w.r.t. the logits `[*variables, C]`."""


@torch.no_grad()
def draw(logits: Tensor, num_samples: int, generator: torch.Generator | None) -> Tensor:
    """Independent ids, int64 `[S, *variables]`."""
    return categorical(logits, uniform((num_samples, *logits.shape[:-1]), logits, generator))


def straight_through(soft: Tensor, indices: Tensor) -> Tensor:
    """The one-hots of `indices`, to the last bit, with the gradient of `soft`.

    Args:
        soft: `[*variables, C]` or `[S, *variables, C]`.
        indices: int64 `[S, *variables]`.
    """
    return _StraightThrough.apply(soft.expand(*indices.shape, soft.shape[-1]), indices)


class _StraightThrough(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(soft: Tensor, indices: Tensor) -> Tensor:
        return one_hot(indices, soft.shape[-1], soft.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return grad_output, None
