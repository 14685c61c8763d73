"""DisARM-SB and DisARM-Tree as tensors of masks, the way the paper's own code is organised.

A categorical variable is N = C - 1 binary ones, the inner nodes of a tree; node n has the logit

    a_n = logsumexp of the logits of its right leaves - logsumexp of those of its left leaves

and both come from sums over `[B, V, N, C]` masked copies of the logits. All N nodes of every variable are drawn, b with
uniforms u and b' with 1 - u, and the paths of the two leaves are masks `[B, V, N]`. With d = (f(z) - f(z')) / 2 the
gradient w.r.t. a_n, the noise integrated out given the leaves, is

    d (b_n - b'_n) sigmoid(|a_n|)     on both paths
    d (b_n - sigmoid(a_n))            on the path of z alone
    -d (b'_n - sigmoid(a_n))          on that of z' alone
    0                                 on neither

which autograd takes back through a_n to the logits. Written from the formulas of Dong, Mnih, Tucker, "Coupled Gradient
Estimators for Discrete Latent Variables", 2021, arXiv 2106.08056.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.steps import Step


class Masks(NamedTuple):
    """Which categories are below the right and the left child of every node, boolean `[N, C]`."""

    right: Tensor
    left: Tensor


@functools.lru_cache
def sticks(categories: int) -> Masks:
    """Node n breaks off category n, its right child; what is left is its left child."""
    node, category = torch.arange(categories - 1).unsqueeze(-1), torch.arange(categories)
    return Masks(node == category, node < category)


@functools.lru_cache
def balanced(categories: int) -> Masks:
    """Level by level, for C a power of two: node n has children 2 n + 1 and 2 n + 2.

    Raises:
        ValueError: for other C.
    """
    if categories & (categories - 1):
        raise ValueError(f"the balanced tree of masks is for C a power of two, not {categories}.")
    right, left = torch.zeros(2, categories - 1, categories, dtype=torch.bool)
    for node in range(categories - 1):
        level = (node + 1).bit_length() - 1
        width = categories >> level
        start = (node + 1 - (1 << level)) * width
        left[node, start : start + width // 2] = True
        right[node, start + width // 2 : start + width] = True
    return Masks(right, left)


def node_logits(logits: Tensor, masks: Masks) -> Tensor:
    """`[B, V, N]`."""
    copies = logits.unsqueeze(-2)
    right, left = (copies.masked_fill(~mask, -torch.inf).logsumexp(-1) for mask in masks)
    return right - left


@torch.no_grad()
def sample(nodes: Tensor, masks: Masks) -> Tensor:
    """An antithetic pair of ids, `[2, B, V]`."""
    noise = torch.rand_like(nodes)
    binary = torch.stack((noise, 1 - noise)) < nodes.sigmoid()
    if masks.right[0].sum() == 1 < masks.left[0].sum():  # sticks: the first that is broken off, or the last category
        return torch.cat((binary, torch.ones_like(binary[..., :1])), -1).to(torch.uint8).argmax(-1)
    node = torch.zeros_like(binary[..., :1], dtype=torch.int64)
    while int(node.flatten()[0]) < binary.shape[-1]:  # all leaves are equally deep
        node = 2 * node + 1 + binary.gather(-1, node)
    return (node - binary.shape[-1]).squeeze(-1)


@torch.no_grad()
def signal(nodes: Tensor, masks: Masks, ids: Tensor, values: Tensor) -> Tensor:
    """The gradient w.r.t. the nodes' logits `[B, V, N]`, from ids `[2, B, V]` and values `[2, B]`."""
    binary = masks.right.T[ids]
    (first, second), (b, other_b) = binary | masks.left.T[ids], binary.to(nodes.dtype)
    both, alone, other_alone = (mask.to(nodes.dtype) for mask in (first & second, first & ~second, ~first & second))
    probs, share = nodes.sigmoid(), nodes.abs().sigmoid()
    weight = both * (b - other_b) * share + alone * (b - probs) - other_alone * (other_b - probs)
    return (0.5 * (values[0] - values[1])).unsqueeze(-1).unsqueeze(-1) * weight


def loss(step: Step, tree: str) -> Tensor:
    """Of one step; `tree` is "sticks" or "balanced"."""
    logits = step.logits()
    masks = {"sticks": sticks, "balanced": balanced}[tree](logits.shape[-1])
    nodes = node_logits(logits, masks)
    ids = sample(nodes, masks)
    one_hots = torch.nn.functional.one_hot(ids, logits.shape[-1]).to(logits.dtype)
    values = step.values(one_hots, logits, ids)
    surrogate = (signal(nodes, masks, ids, values) * nodes).sum((-2, -1))
    return -(values.mean(0) + surrogate).mean()
