"""Weights of local expectations."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.coupling import Alternatives, Coupling, LocalPoints
from discretegrad.coupling.joint import as_rows
from discretegrad.frozen import frozen
from discretegrad.ops import local as local_ops
from discretegrad.weights.base import Weights


@frozen
class LocalExpectations(Weights[LocalPoints]):
    """`p_c (f_c - sum_c' p_c' f_c')`, f_c at category c of the variable, for the chosen variables.

    Where not all variables that have a choice could be chosen, those that were stand for the others.

    Source: Titsias, Lazaro-Gredilla 2015, arXiv 1503.01494.
    """

    differences = True

    def refuse(self, coupling: Coupling) -> None:
        """Only alternatives fit."""
        if not isinstance(coupling, Alternatives):
            raise ValueError(
                f"LocalExpectations weights need all categories of a variable, which the points of "
                f"{type(coupling).__name__} do not hold; use coupling=Alternatives(), or weights=Score()."
            )

    def unbiased(self, coupling: Coupling) -> bool:
        return True

    def gradient(self, drawn: LocalPoints, values: Tensor, centred: bool = False) -> Tensor:
        """The gradient of each local expectation is multiplied by the number of variables that it stands for."""
        indices, event_dims = drawn.indices, drawn.coupling.event_dims
        if indices.shape[0] == 1:
            return torch.zeros_like(drawn.probs, dtype=values.dtype)
        probs, uncertain = drawn.joined
        event = values.shape[values.ndim - event_dims :]
        if any(size != 1 for size in event):
            values = values.expand(indices.shape)
        gradient = local_ops.expectation_gradients(probs, as_rows(indices, event_dims), as_rows(values, event_dims))
        chosen = (indices.shape[0] - 1) // (probs.shape[-1] - 1)
        stands_for = (uncertain.sum(-1) / chosen).clamp_min(1.0).to(gradient.dtype)
        return (gradient * stands_for.unsqueeze(-1).unsqueeze(-1)).reshape(drawn.probs.shape)
