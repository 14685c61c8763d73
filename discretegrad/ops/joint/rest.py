"""Readable reference of all joint values but some: their mass without cancellation, and a draw without rejection."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from discretegrad.ops.inverse_cdf import inverse_cdf


def log_joint(log_probs: Tensor, ids: Tensor) -> Tensor:
    """Log-probabilities `[..., k]` of joint values `[..., k, V]`, from `log_probs` `[..., V, C]`."""
    return _chosen(log_probs, ids).sum(-1)


def repeats(ids: Tensor) -> Tensor:
    """`[..., k]`, whether a joint value of `[..., k, V]` equals one before it."""
    equal = (ids.unsqueeze(-2) == ids.unsqueeze(-3)).all(-1)
    return (equal & _earlier(ids)).any(-1)


def log_rest(log_probs: Tensor, ids: Tensor) -> Tensor:
    """The logarithm of the mass of all joint values but those in `ids`.

    Args:
        log_probs: `[..., V, C]`.
        ids: int64 `[..., k, V]`; repeats count once.

    Returns:
        `[...]`.
    """
    return _branches(log_probs, ids).flatten(-3).logsumexp(-1)


def log_masses(log_probs: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    """What the laws of a set need.

    Args:
        log_probs: `[..., V, C]`.
        words: int64 `[..., k, V]`, joint values.

    Returns:
        Their log-probabilities `[k, ...]`, -inf of those that equal one before, and that of all others, `[...]`.
    """
    of_words = log_joint(log_probs, words).masked_fill(repeats(words), -torch.inf)
    return of_words.movedim(-1, 0), log_rest(log_probs, words)


def sample_rest(log_probs: Tensor, ids: Tensor, noise: Tensor) -> Tensor:
    """Draw from the joint law given that none of `ids` comes out.

    Args:
        log_probs: `[..., V, C]`.
        ids: int64 `[..., k, V]`.
        noise: uniform on [0, 1), `[n, V + 1, ...]`.

    Returns:
        int64 `[n, ..., V]`; the first of `ids` where there is no other possible value.
    """
    branches = _branches(log_probs, ids)
    _, variables, categories = branches.shape[-3:]
    flat = branches.flatten(-3)
    highest = flat.amax(-1, keepdim=True)
    left = highest.squeeze(-1) > -torch.inf
    mass = (flat - torch.where(left.unsqueeze(-1), highest, 0.0)).exp()
    branch = inverse_cdf(mass, noise[:, 0])
    entry, at = branch // (variables * categories), branch // categories % variables
    free = inverse_cdf(log_probs.softmax(-1), noise[:, 1:].movedim(1, -1))
    held = ids.expand(*entry.shape, *ids.shape[-2:])
    index = entry.reshape(*entry.shape, 1, 1).expand(*entry.shape, 1, variables)
    prefix = held.gather(-2, index).squeeze(-2)
    place, at = torch.arange(variables, device=ids.device), at.unsqueeze(-1)
    drawn = torch.where(place < at, prefix, torch.where(place > at, free, (branch % categories).unsqueeze(-1)))
    return torch.where(left.unsqueeze(-1), drawn, ids[..., 0, :])


def _branches(log_probs: Tensor, ids: Tensor) -> Tensor:
    """Log-masses `[..., k, V, C]` of where a joint value parts from all of `ids`; -inf where it does not.

    Read as words, `ids` form a prefix tree. A value that is not among them leaves it at one node, a prefix of entry
    k of length v, by a category c with which no entry goes on. These branches are disjoint, and their masses only
    add up, where one less the mass of `ids` would lose its digits.
    """
    by_variable = ids.transpose(-1, -2)
    equal = by_variable.unsqueeze(-1) == by_variable.unsqueeze(-2)  # [..., V, k, k]
    parted = F.pad((~equal[..., :-1, :, :]).to(torch.int32), (0, 0, 0, 0, 1, 0)).cumsum(-3)
    shared = parted == 0  # the same prefix before v
    first = ~(shared & _earlier(ids)).any(-1).transpose(-1, -2)  # [..., k, V]
    # How many entries of the prefix go on with each category, [..., V, k, C].
    index = by_variable.unsqueeze(-2).expand(shared.shape)
    going_on = torch.zeros_like(log_probs, dtype=torch.int32).unsqueeze(-2).expand(*shared.shape[:-1], -1)
    going_on = going_on.scatter_add(-1, index, shared.to(torch.int32))
    continued = going_on.transpose(-2, -3) > 0
    prefix = F.pad(_chosen(log_probs, ids)[..., :-1], (1, 0)).cumsum(-1)
    mass = prefix.unsqueeze(-1) + log_probs.unsqueeze(-3)
    return torch.where(first.unsqueeze(-1) & ~continued, mass, -torch.inf)


def _chosen(log_probs: Tensor, ids: Tensor) -> Tensor:
    """`[..., k, V]`, the log-probability of each variable's category."""
    table = log_probs.unsqueeze(-3).expand(*ids.shape, log_probs.shape[-1])
    return table.gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def _earlier(ids: Tensor) -> Tensor:
    """`[k, k]`, true at [i, j] where j is before i."""
    number = torch.arange(ids.shape[-2], device=ids.device)
    return number < number.unsqueeze(-1)
