"""Readable reference of local expectations.

The points are a base and, for every chosen variable, the base with that variable at its C - 1 other categories, in
the order `base + 1, base + 2, ... (mod C)`. So the chosen variables can be read off the ids.
"""

from __future__ import annotations

import torch
from torch import Tensor


def points(base: Tensor, chosen: Tensor, categories: int) -> Tensor:
    """The points.

    Args:
        base: int64 `[..., V]`.
        chosen: int64 `[..., n]`, different variables.
        categories: C.

    Returns:
        int64 `[1 + n (C - 1), ..., V]`.
    """
    variable = torch.arange(base.shape[-1], device=base.device)
    step = torch.arange(1, categories, device=base.device)
    held = base.unsqueeze(-2).unsqueeze(-2)  # [..., 1, 1, V]
    is_chosen = (chosen.unsqueeze(-1) == variable).unsqueeze(-2)  # [..., n, 1, V]
    moved = torch.where(is_chosen, (held + step.unsqueeze(-1)) % categories, held)
    return torch.cat((base.unsqueeze(0), moved.flatten(-3, -2).movedim(-2, 0)))


def chosen_probabilities(probs: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen variables `[..., n]`, and their probabilities `[..., n, C]` from the base's category on.

    Args:
        probs: `[..., V, C]`.
        ids: the points, `[1 + n (C - 1), ..., V]`, C > 1.
    """
    categories = probs.shape[-1]
    chosen = (ids[1 :: categories - 1] != ids[0]).to(torch.uint8).argmax(-1).movedim(0, -1)
    rows = chosen.unsqueeze(-1).expand(*chosen.shape, categories)
    return chosen, probs.gather(-2, rows).gather(-1, _order(ids[0].gather(-1, chosen), categories))


def expectation_gradients(probs: Tensor, ids: Tensor, values: Tensor) -> Tensor:
    """Of every chosen variable `p_c (f_c - sum_c' p_c' f_c')`, the gradient of its local expectation.

    Args:
        probs: `[..., V, C]`.
        ids: the points, `[1 + n (C - 1), ..., V]`, C > 1.
        values: `[1 + n (C - 1), ..., V]`, or with 1 in place of V.

    Returns:
        `[..., V, C]`, zero for variables that are not chosen.
    """
    categories = probs.shape[-1]
    chosen, ordered = chosen_probabilities(probs, ids)
    at_others = values[1:].unflatten(0, (-1, categories - 1)).movedim((0, 1), (-3, -2))  # [..., n, C - 1, V or 1]
    at_base = values[0].unsqueeze(-2).unsqueeze(-2).expand(*at_others.shape[:-2], 1, values.shape[-1])
    table = torch.cat((at_base, at_others), -2)
    if values.shape[-1] == 1:
        table = table.squeeze(-1)
    else:  # every variable has values of its own
        table = table.gather(-1, chosen.unsqueeze(-1).unsqueeze(-1).expand(*table.shape[:-1], 1)).squeeze(-1)
    table = torch.where(ordered > 0, table, 0.0)  # whatever f returned at impossible values
    gradient = ordered * (table - (ordered * table).sum(-1, keepdim=True))
    order = _order(ids[0].gather(-1, chosen), categories)
    gradient = torch.zeros_like(gradient).scatter(-1, order, gradient)
    rows = chosen.unsqueeze(-1).expand(gradient.shape)
    return gradient.new_zeros((*gradient.shape[:-2], *probs.shape[-2:])).scatter(-2, rows, gradient)


def _order(base: Tensor, categories: int) -> Tensor:
    """`[..., C]`, the categories from the base's on."""
    return (base.unsqueeze(-1) + torch.arange(categories, device=base.device)) % categories
