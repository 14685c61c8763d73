"""The law of a pair as a C kernel, of the Dirichlet copula: in double, whatever the probabilities are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from discretegrad.ops import native
from discretegrad.ops.copula.families import Dirichlet

_pairs = native.function("copula_pairs", pointers=5, sizes=5)


def pair_probs(
    family: Dirichlet, probs: Tensor, ranking: Tensor, indices: Tensor, pairs: Iterable[tuple[int, int]]
) -> Tensor:
    """See `reference.pair_probs`; of at least 2 categories."""
    which = torch.tensor(list(pairs), device="cpu")
    variables, categories = probs.shape[:-1], probs.shape[-1]
    out = native.empty((len(which), *variables), torch.float64)
    tensors = probs.double().contiguous(), ranking.contiguous(), indices.contiguous(), which, out
    sizes = variables.numel(), categories, len(indices), len(which), family.points - 1
    _pairs(torch.float64, *tensors, *sizes, work=probs.numel() * len(which))
    return out
