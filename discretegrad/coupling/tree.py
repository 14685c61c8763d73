"""Antithetic pairs on a binary tree over the categories."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Check, Coupling, Law, law_of_pairs, unchecked
from discretegrad.coupling.drawn import PairLaw, PairPoints
from discretegrad.frozen import frozen
from discretegrad.ops import dispatch
from discretegrad.ops import score as score_ops
from discretegrad.ops import tree as tree_ops
from discretegrad.ops.noise import has_kernels, uniform

ORDERS = (None, "ascending", "descending", "abs")


class TreePairs(PairPoints):
    """Antithetic pairs, and the tree that they were drawn on.

    Args:
        indices, logits, mask, coupling: as for `Drawn`.
        tree: of these logits.
        kept: what the tree found while it drew these points, to spare it the search.
    """

    def __init__(
        self,
        indices: Tensor,
        logits: Tensor,
        mask: Tensor | None,
        coupling: Coupling,
        tree: tree_ops.Pairs,
        kept: object = None,
    ) -> None:
        super().__init__(indices, logits, mask, coupling)
        self.tree, self.kept = tree, kept

    def _softmax(self) -> Tensor:
        return self.tree.probs

    def score(self, coefficients: Tensor) -> Tensor:
        return score_ops.score(self.probs, self.indices, coefficients)

    def pair_law(self) -> Tensor:
        return self.tree.law()

    def gradient(self, differences: Tensor, others: Tensor | None = None) -> Tensor:
        """See `ops.tree.Pairs.gradient`."""
        return self.tree.gradient(self.indices, differences, others, self.kept)

    def importance(self, differences: Tensor, others: Tensor | None = None) -> Tensor:
        return self.tree.importance(self.indices, differences, others, self.kept)

    def flow(self, coefficients: Tensor, others: Tensor | None = None) -> Tensor:
        flow = self.tree.flow(self.indices, coefficients)
        return flow if others is None else flow + score_ops.scatter(self.indices, others, self.logits.shape[-1])


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

    pairs = PairLaw(paired=True)

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
        return 2 * self.num_pairs

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> TreePairs:
        chosen = dispatch.implementation(logits)
        if chosen != "native":  # which looks itself
            check()
        tree = self._tree(logits, mask, chosen)
        seeded = has_kernels(logits) if chosen == "native" else tree.seeded
        noise = uniform((3, self.num_pairs, *logits.shape[:-1]), logits, generator, seeded)
        indices, kept = tree.sample(noise)
        if not tree.sound(kept):
            check()
        return TreePairs(indices, logits, mask, self, tree, kept)

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> TreePairs:
        """Where the paths part is found when it is asked for."""
        return TreePairs(indices, logits, mask, self, self._tree(logits, mask))

    def _tree(self, logits: Tensor, mask: Tensor | None = None, chosen: str | None = None) -> tree_ops.Pairs:
        """Lay it out; kernels skip what is off."""
        return tree_ops.pairs(self.shape, self.order, logits, mask, chosen)

    def law(self, logits: Tensor) -> Law:
        return law_of_pairs(self._tree(logits).law(), self.num_pairs)


class StickBreaking(Tree):
    """The caterpillar tree: antithetic sticks, broken off in the given order. See `Tree`."""

    def __init__(self, order: str | None = None, num_pairs: int = 1) -> None:
        super().__init__("caterpillar", order, num_pairs)


class Antithetic(Tree):
    """Two categories, as a Bernoulli latent has: the tree with two leaves. See `Tree`."""

    def __init__(self, num_pairs: int = 1) -> None:
        super().__init__("balanced", None, num_pairs)
