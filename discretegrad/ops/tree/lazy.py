"""Pairs of kernels, which take the logits as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops.layout import switch_off
from discretegrad.ops.tree import reference
from discretegrad.ops.tree.base import Pairs
from discretegrad.ops.tree.topology import TreeLike


class LogitPairs(Pairs):
    """Logits; probabilities only when they are asked for. What kernels have not got is the reference's."""

    def __init__(self, shape: str | TreeLike, order: str | None, logits: Tensor, mask: Tensor | None = None) -> None:
        # Probabilities that are asked for later must not find a graph that was not wanted when the logits came.
        self.logits = logits if torch.is_grad_enabled() else logits.detach()
        self.shape, self.order, self.mask = shape, order, mask

    @property
    def like(self) -> Tensor:
        """The logits are at hand, whatever they are where the mask is False."""
        return self.logits

    @property
    def probs(self) -> Tensor:
        return switch_off(self.logits, self.mask).softmax(-1)

    def law(self) -> Tensor:
        """The reference is asked."""
        return self.reference().law()

    def reference(self) -> reference.ReferencePairs:
        """The same tree of the same logits."""
        return reference.pairs(self.shape, self.order, switch_off(self.logits, self.mask))
