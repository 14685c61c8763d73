"""Points that are jointly antithetic, by a copula."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Check, Coupling, Law, unchecked
from discretegrad.coupling.drawn import PairLaw, PairPoints
from discretegrad.frozen import frozen
from discretegrad.ops import copula as copula_ops
from discretegrad.ops import order as order_ops
from discretegrad.ops.layout import switch_off
from discretegrad.ops.noise import uniform


class Tables(NamedTuple):
    """The probabilities, the categories from the rarest on, and the copula that couples the points."""

    probs: Tensor
    ranking: Tensor
    family: copula_ops.Family


class CopulaPoints(PairPoints):
    """Points whose uniforms a copula couples.

    Args:
        indices, logits, mask, coupling: as for `Drawn`.
        tables: of these logits.
    """

    def __init__(
        self, indices: Tensor, logits: Tensor, mask: Tensor | None, coupling: Coupling, tables: Tables
    ) -> None:
        super().__init__(indices, logits, mask, coupling, tables.probs)
        self.tables = tables

    def pair_law(self) -> Tensor:
        *variables, categories = self.probs.shape
        ids = torch.arange(categories, device=self.probs.device)
        every = ids.reshape(-1, *[1] * len(variables)).expand(-1, *variables)
        law = self._at(every, list(itertools.product(range(categories), range(categories))))
        return law.movedim(0, -1).reshape(*variables, categories, categories)

    def pair_probs(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        return self._at(self.indices, pairs)

    def _at(self, indices: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        return copula_ops.pair_probs(self.tables.family, self.tables.probs, self.tables.ranking, indices, pairs)


@frozen
class Copula(Coupling):
    """S points by inverse CDFs of S uniforms that avoid each other.

    The points share a random order of the categories, in which each pair of categories has its turn as first and last,
    the others between them from the rarest on; so every pair can be drawn, at most `C (C - 1) / 2` times less often
    than by independent points. There are as many orders. The law of each pair that was drawn is a sum over them, for
    which there is a form of C steps (`ops/copula/README.md`).

    Args:
        num_samples: S >= 2.
        family: "dirichlet" or "gaussian"; with 2 points both are the antithetic pair. The joint law of more than 2
            points has a closed form for "dirichlet" only.

    Source: Dimitriev, Zhou, "ARMS: antithetic-REINFORCE-multi-sample gradient for binary variables", 2021, arXiv
    2105.14141; "CARMS: categorical-antithetic-REINFORCE multi-sample gradient estimator", 2021, arXiv 2110.14002.
    Departs from the papers: the rarer end comes first, which is their choice for binary variables; the others are
    sorted.
    """

    num_samples: int
    family: str = "dirichlet"

    pairs = PairLaw(every=True, closed=False)

    def __post_init__(self) -> None:
        checks.count(self.num_samples, "num_samples")
        if self.num_samples < 2:
            raise ValueError("a copula couples num_samples of at least 2; for one point use coupling=Independent(1).")
        if self.family not in ("dirichlet", "gaussian"):
            raise ValueError(f"a copula is 'dirichlet' or 'gaussian', not {self.family!r}.")

    @property
    def evaluations(self) -> int:
        return self.num_samples

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> CopulaPoints:
        check()
        probs, ranking, family = tables = self._tables(switch_off(logits, mask))
        variables = probs.shape[:-1]
        noise = uniform((self.num_samples, *variables), probs, generator)
        ordered = probs.shape[-1] < 3
        order_noise = None if ordered else uniform(variables, probs, generator)
        indices = copula_ops.sample(family, probs, ranking, noise, order_noise)
        return CopulaPoints(indices, logits, mask, self, tables)

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> CopulaPoints:
        return CopulaPoints(indices, logits, mask, self, self._tables(switch_off(logits, mask)))

    def _tables(self, logits: Tensor) -> Tables:
        gaussian = self.family == "gaussian" and self.num_samples > 2
        family = copula_ops.Gaussian if gaussian else copula_ops.Dirichlet
        probs = logits.softmax(-1)
        return Tables(probs, order_ops.ascending(probs), family(self.num_samples))

    def law(self, logits: Tensor) -> Law:
        probs, ranking, family = self._tables(logits)
        if not isinstance(family, copula_ops.Dirichlet):
            raise ValueError(
                f"the joint law of {self.num_samples} points of a Gaussian copula has no closed form, so moments "
                "cannot be enumerated; use 2 points or family 'dirichlet', or estimate them from many draws."
            )
        return Law(*copula_ops.joint_law(family, probs, ranking))
