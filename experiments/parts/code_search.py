"""Which codes are served, and what they stand for; needs torch alone, so that it goes along with exported models."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Weights(NamedTuple):
    """Of codes of V variables: see `Codes`. Of bits there is one row a variable, C = 1."""

    heads: Tensor
    """`[V, C, W]`"""
    biases: Tensor
    """`[V, C]`"""
    table: Tensor
    """`[V, C, W]`, what each category adds."""
    structure: str


def logits_of(weights: Weights, projected: Tensor) -> Tensor:
    """Of vectors u `[N, W]` `[N, V, C]`, or `[N, V]` of bits, where logits depend on no variable."""
    found = torch.einsum("nw,vcw->nvc", projected, weights.heads) + weights.biases
    return found.squeeze(-1) if weights.structure == "bits" else found


def step(weights: Weights, variable: int, rest: Tensor) -> Tensor:
    """A chain's logits `[*, C]` of a variable, from what the ones before have left of u, `[*, W]`."""
    return rest @ weights.heads[variable].T + weights.biases[variable]


def greedy(weights: Weights, projected: Tensor) -> tuple[Tensor, Tensor]:
    """The most likely ids `[N, V]`, one variable after the other, and the logits there, as `logits_of` has them."""
    if weights.structure != "residual":
        logits = logits_of(weights, projected)
        return (logits > 0).long() if weights.structure == "bits" else logits.argmax(-1), logits
    rest, ids, steps = projected, [], []
    for variable, table in enumerate(weights.table):
        steps.append(step(weights, variable, rest))
        ids.append(steps[-1].argmax(-1))
        rest = rest - table[ids[-1]]
    return torch.stack(ids, -1), torch.stack(steps, -2)


def search(weights: Weights, projected: Tensor, beam: int) -> Tensor:
    """The ids `[N, V]` that are served; of a chain the best of `beam` codes by the sum of logits."""
    if weights.structure != "residual" or beam == 1:
        return greedy(weights, projected)[0]
    rest, total = projected.unsqueeze(1), projected.new_zeros(len(projected), 1)
    ids = torch.zeros(len(projected), 1, 0, dtype=torch.long, device=projected.device)
    for variable, table in enumerate(weights.table):
        totals = (total.unsqueeze(-1) + step(weights, variable, rest)).flatten(1)
        total, best = totals.topk(min(beam, totals.shape[1]), dim=1)
        parents, chosen = best // len(table), best % len(table)
        ids = torch.cat((_rows(ids, parents), chosen.unsqueeze(-1)), -1)
        rest = _rows(rest, parents) - table[chosen]
    return ids[:, 0]


def decode(weights: Weights, code: Tensor, prefix: int | None = None) -> Tensor:
    """The vectors `[*, W]` of ids `[*, V]`, or of points `[*, V, C]` (bits: `[*, V]`), as floating-point numbers.

    Args:
        weights: of the codes.
        code: ids or points.
        prefix: how many variables, the first ones, count; None: all.
    """
    table = weights.table[:prefix]
    if weights.structure == "bits":
        return (2 * code[..., :prefix].to(table.dtype) - 1) @ table.squeeze(1)
    if code.is_floating_point():
        return code[..., : len(table), :].flatten(-2) @ table.flatten(0, 1)
    rows = code[..., : len(table)] + torch.arange(len(table), device=code.device) * table.shape[1]
    lead, flat = rows.shape[:-1], rows.flatten(0, -2)
    return F.embedding_bag(flat, table.flatten(0, 1), mode="sum").reshape(*lead, -1)


def _rows(tensor: Tensor, index: Tensor) -> Tensor:
    """`tensor[n, index[n, k]]`, `[N, K, *]`."""
    return tensor.gather(1, index.unsqueeze(-1).expand(-1, -1, tensor.shape[-1]))
