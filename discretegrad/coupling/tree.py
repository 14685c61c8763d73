"""Antithetic pairs on a binary tree over the categories."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Coupling, Drawn, Law, law_of_pairs
from discretegrad.frozen import frozen
from discretegrad.ops import dispatch
from discretegrad.ops import score as score_ops
from discretegrad.ops import tree as tree_ops
from discretegrad.ops.noise import uniform

ORDERS = (None, "ascending", "descending", "abs")


@frozen
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

    paired = True
    connected = True

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

    def plan(self, logits: Tensor) -> tree_ops.Pairs:
        """Lay out the tree; compute what its pairs are drawn with."""
        return self.masked_plan(logits, None)

    def masked_plan(self, logits: Tensor, mask: Tensor | None) -> tree_ops.Pairs:
        """Kernels skip what is off."""
        return tree_ops.pairs(self.shape, self.order, logits, mask)

    def sample(self, plan: tree_ops.Pairs, generator: torch.Generator | None) -> Tensor:
        """Three uniforms a pair."""
        return self.draw(plan, generator).indices

    def draw(self, plan: tree_ops.Pairs, generator: torch.Generator | None) -> Drawn:
        """The same, and where the paths part."""
        noise = uniform((3, self.num_pairs, *plan.like.shape[:-1]), plan.like, generator, plan.seeded)
        indices, kept = plan.sample(noise)
        return Drawn(indices, kept=kept, sound=getattr(kept, "sound", True))

    def sees(self, logits: Tensor) -> bool:
        """C kernels do."""
        return dispatch.implementation(logits) == "native"

    def pair_law(self, plan: tree_ops.Pairs) -> Tensor:
        """Of a pair."""
        return plan.law()

    def flow(
        self,
        plan: tree_ops.Pairs,
        indices: Tensor,
        coefficients: Tensor,
        others: Tensor | None = None,
        kept: Any = None,
    ) -> Tensor:
        """From the closed form."""
        flow = plan.flow(indices, coefficients)
        return flow if others is None else flow + score_ops.scatter(indices, others, plan.like.shape[-1])

    def law(self, plan: tree_ops.Pairs) -> Law:
        """The product over the pairs of the law of one."""
        return law_of_pairs(self.pair_law(plan), self.num_pairs)


class StickBreaking(Tree):
    """The caterpillar tree: antithetic sticks, broken off in the given order. See `Tree`."""

    def __init__(self, order: str | None = None, num_pairs: int = 1) -> None:
        super().__init__("caterpillar", order, num_pairs)


class Antithetic(Tree):
    """Two categories, as a Bernoulli latent has: the tree with two leaves. See `Tree`."""

    def __init__(self, num_pairs: int = 1) -> None:
        super().__init__("balanced", None, num_pairs)
