"""Couplings: the joint law of the S points.

A coupling draws category ids and knows their law; it never sees f. Every point alone has the variable's own law,
so the plain average of f over the points is unbiased under each of them.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.ops import tree as tree_ops
from discretegrad.ops.inverse_cdf import inverse_cdf

ORDERS = (None, "ascending", "descending", "abs")


class Law(NamedTuple):
    """The exact joint law of one variable's S points, or of the event's where a coupling joins its variables."""

    outcomes: Tensor
    """int64 `[M, S]`, the possible tuples of categories; `[M, S, *event]` where the variables are drawn jointly."""
    probabilities: Tensor
    """`[*variables, M]`; `[M]` where the variables are drawn jointly."""
    noise: Tensor | None = None
    """`[*variables, M, K]`, `Draw.noise` of each outcome, where the weights ask for it."""


class Coupling(ABC):
    """The joint law of the S points of every variable.

    Variables are independent of each other, except under couplings whose `event_dims` is not 0: those join the
    variables of the last `event_dims` dimensions.

    `plan` holds what depends on the logits alone, computed once and used by the draw and by the weights. It has
    at least a field `probs`, the categories' probabilities; what else is between a coupling and its weights.
    """

    event_dims: int = 0
    """How many of the last dimensions of variables are drawn jointly."""

    @property
    @abstractmethod
    def evaluations(self) -> int | None:
        """S, or None where it depends on the logits' shape."""

    @abstractmethod
    def plan(self, logits: Tensor) -> Any:
        """Prepare for category logits `[*variables, C]`, without autograd."""

    @abstractmethod
    def sample(self, plan: Any, generator: torch.Generator | None) -> Tensor:
        """Draw int64 ids `[S, *variables]`."""

    def sample_with_noise(self, plan: Any, generator: torch.Generator | None) -> tuple[Tensor, Tensor | None]:
        """Ids, and what `Draw.noise` keeps for weights that ask for it."""
        return self.sample(plan, generator), None

    @abstractmethod
    def law(self, plan: Any) -> Law | None:
        """The exact law, for the oracle; None where the ids are not random at all.

        Where weights ask for noise, an outcome is ids and a node of a quadrature that is exact for the gradient's
        first two moments.
        """

    def value_weights(self, plan: Any, indices: Tensor) -> Tensor | None:
        """`[S, *batch]` weights of the points in the estimate of E f; None for the plain average."""
        return None


class Probs(NamedTuple):
    """The plan of a coupling that needs the probabilities only."""

    probs: Tensor


@dataclass(frozen=True)
class Independent(Coupling):
    """S independent points."""

    num_samples: int

    def __post_init__(self) -> None:
        checks.count(self.num_samples, "num_samples")

    @property
    def evaluations(self) -> int:
        """S."""
        return self.num_samples

    def plan(self, logits: Tensor) -> Probs:
        """Probabilities."""
        return Probs(logits.softmax(-1))

    def sample(self, plan: Probs, generator: torch.Generator | None) -> Tensor:
        """One uniform a point."""
        return inverse_cdf(plan.probs, uniform((self.num_samples, *plan.probs.shape[:-1]), plan.probs, generator))

    def law(self, plan: Probs) -> Law:
        """The product law."""
        categories = range(plan.probs.shape[-1])
        outcomes = torch.tensor(list(itertools.product(categories, repeat=self.num_samples)))
        outcomes = outcomes.to(plan.probs.device)
        return Law(outcomes, plan.probs[..., outcomes].prod(-1))


@dataclass(frozen=True)
class Tree(Coupling):
    """P independent antithetic pairs, S = 2P; points 2k and 2k + 1 are a pair.

    Both points of a pair walk down a full binary tree over the categories; at every node that they visit
    together they use antithetic uniforms u and 1 - u, after their paths part they are independent.

    Args:
        shape: "balanced", "caterpillar" (stick-breaking), "huffman", or nested pairs of category ids.
        order: sort the categories by their logits before they become the tree's leaves: "ascending",
            "descending", "abs" (by the logits' absolute value, smallest first), or None.
        num_pairs: P.

    Source: Dong, Mnih, Tucker, "Coupled Gradient Estimators for Discrete Latent Variables", 2021, arXiv
    2106.08056. Departs from the paper: any tree and any number of categories.
    """

    shape: str | tree_ops.TreeLike = "balanced"
    order: str | None = None
    num_pairs: int = 1

    def __post_init__(self) -> None:
        checks.count(self.num_pairs, "num_pairs")
        if self.order not in ORDERS:
            raise ValueError(f"order is one of {', '.join(map(repr, ORDERS))}, not {self.order!r}.")
        if isinstance(self.shape, str):
            if self.shape not in ("balanced", "caterpillar", "huffman"):
                raise ValueError(
                    "a tree is 'balanced', 'caterpillar', 'huffman' or nested pairs of category ids such as "
                    f"((0, 1), (2, 3)), not {self.shape!r}."
                )
            if self.shape == "huffman" and self.order is not None:
                raise ValueError("a Huffman tree is built from the probabilities, so order must be None.")
        else:
            object.__setattr__(self, "shape", tree_ops.as_tree(self.shape))

    @property
    def evaluations(self) -> int:
        """2P."""
        return 2 * self.num_pairs

    def plan(self, logits: Tensor) -> tree_ops.TreePlan:
        """Lay out the tree; compute its masses and the law of the parting node."""
        probs = logits.softmax(-1)
        if self.shape == "huffman":
            tables, category_at = tree_ops.huffman(probs)
        else:
            tables, category_at = tree_ops.topology(self.shape, logits.shape[-1], probs)
        if self.order is not None:
            key = logits.abs() if self.order == "abs" else logits
            ranking = key.argsort(dim=-1, descending=self.order == "descending", stable=True)
            category_at = ranking.gather(-1, category_at.expand(ranking.shape))
        return tree_ops.plan(tables, probs, category_at)

    def sample(self, plan: tree_ops.TreePlan, generator: torch.Generator | None) -> Tensor:
        """Four uniforms a pair."""
        noise = uniform((4, self.num_pairs, *plan.probs.shape[:-1]), plan.probs, generator)
        return tree_ops.sample_pairs(plan, noise).transpose(0, 1).flatten(0, 1)

    def law(self, plan: tree_ops.TreePlan) -> Law:
        """The product over the pairs of the law of one."""
        pair = tree_ops.pair_law(plan).flatten(-2)
        categories = plan.probs.shape[-1]
        pairs = torch.tensor(list(itertools.product(range(pair.shape[-1]), repeat=self.num_pairs)), device=pair.device)
        outcomes = torch.stack((pairs // categories, pairs % categories), -1).flatten(-2)
        return Law(outcomes, pair[..., pairs].prod(-1))


class StickBreaking(Tree):
    """The caterpillar tree: antithetic sticks, broken off in the given order. See `Tree`."""

    def __init__(self, order: str | None = None, num_pairs: int = 1) -> None:
        super().__init__("caterpillar", order, num_pairs)


class Antithetic(Tree):
    """Two categories, as a Bernoulli latent has: the tree with two leaves. See `Tree`."""

    def __init__(self, num_pairs: int = 1) -> None:
        super().__init__("balanced", None, num_pairs)


@dataclass(frozen=True)
class Enumerate(Coupling):
    """All `C ** V` joint values of the V variables in the last `event_dims` dimensions, each exactly once."""

    event_dims: int = 1

    limit = 2**20
    """The most joint values that are enumerated."""

    def __post_init__(self) -> None:
        checks.event_dims(self.event_dims)

    @property
    def evaluations(self) -> None:
        """`C ** V`, which the logits tell."""
        return None

    def plan(self, logits: Tensor) -> Probs:
        """Probabilities."""
        return Probs(logits.softmax(-1))

    def sample(self, plan: Probs, generator: torch.Generator | None) -> Tensor:
        """All joint values; no randomness."""
        *variables, categories = plan.probs.shape
        checks.has_event_dims(variables, self.event_dims, "Enumerate")
        event = variables[len(variables) - self.event_dims :]
        count = math.prod(event)
        checks.enumerable(categories, count, self.limit)
        number = torch.arange(categories**count, device=plan.probs.device).unsqueeze(-1)
        place = categories ** torch.arange(count, device=plan.probs.device)
        ids = (number // place % categories).reshape(-1, *[1] * (len(variables) - self.event_dims), *event)
        return ids.expand(-1, *variables)

    def law(self, plan: Probs) -> None:
        """Nothing is random."""
        return None

    def value_weights(self, plan: Probs, indices: Tensor) -> Tensor:
        """The joint probabilities."""
        chosen = plan.probs.expand(*indices.shape, -1).gather(-1, indices.unsqueeze(-1)).squeeze(-1)
        return chosen.flatten(chosen.ndim - self.event_dims).prod(-1) if self.event_dims else chosen


def uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform noise on [0, 1) with the dtype and device of `like`."""
    if generator is None:  # named, even as None, it would keep torch.compile from sizes that vary
        return torch.rand(shape, dtype=like.dtype, device=like.device)
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
