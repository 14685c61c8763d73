"""Joint values of an event: the most probable and a sample of the rest, and a set without replacement."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Check, Coupling, Law, unchecked
from discretegrad.coupling.drawn import Weighted
from discretegrad.frozen import frozen
from discretegrad.ops import joint as joint_ops
from discretegrad.ops.joint.race import LARGEST
from discretegrad.ops.layout import switch_off
from discretegrad.ops.noise import uniform

MOST = 2**20
"""The most outcomes of a joint law that the oracle is given."""


class JointPoints(Weighted):
    """Joint values of events.

    Args:
        indices, logits, mask, coupling: as for `Drawn`.
        log_probs: log-probabilities `[*variables, C]`, which hold what underflows.
    """

    coupling: Joint
    _race: tuple[Tensor, Tensor] | None = None

    def __init__(
        self, indices: Tensor, logits: Tensor, mask: Tensor | None, coupling: Coupling, log_probs: Tensor
    ) -> None:
        super().__init__(indices, logits, mask, coupling, log_probs.exp())
        self.log_probs = log_probs

    @property
    def joined(self) -> Tensor:
        """Log-probabilities `[*batch, V, C]` with the event flattened."""
        return as_table(self.log_probs, self.coupling.event_dims)

    @property
    def race(self) -> tuple[Tensor, Tensor]:
        """What the laws of a set need: log-probabilities `[k, *batch]` of its values, and that of all others."""
        if self._race is None:
            self._race = joint_ops.log_masses(self.joined, as_words(self.indices, self.coupling.event_dims))
        return self._race


class Joint(Coupling):
    """A coupling of whole events. An event whose variables are all off, or certain, has one possible value."""

    event_dims: int

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> JointPoints:
        check()
        log_probs = self._log_probs(logits, mask)
        ids = self._sample(as_table(log_probs, self.event_dims), generator)
        return self._points(ids.reshape(ids.shape[0], *logits.shape[:-1]), logits, mask, log_probs)

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> JointPoints:
        return self._points(indices, logits, mask, self._log_probs(logits, mask))

    def _log_probs(self, logits: Tensor, mask: Tensor | None = None) -> Tensor:
        checks.has_event_dims(logits.shape[:-1], self.event_dims, type(self).__name__)
        return switch_off(logits, mask).log_softmax(-1)

    @abstractmethod
    def _sample(self, log_probs: Tensor, generator: torch.Generator | None) -> Tensor:
        """`[S, *batch, V]`, from `[*batch, V, C]`."""

    @abstractmethod
    def _points(self, indices: Tensor, logits: Tensor, mask: Tensor | None, log_probs: Tensor) -> JointPoints:
        """Of the coupling's own kind."""


class TopPoints(JointPoints):
    """The most probable joint values first, then those of the rest."""

    coupling: TopAndRest

    def weigh(self) -> Tensor:
        """The top have `p(z)`, the others `(1 - p(top)) / num_samples`."""
        top = as_words(self.indices[: self.coupling.k], self.coupling.event_dims)
        weights = joint_ops.log_joint(self.joined, top).exp().masked_fill(joint_ops.repeats(top), 0.0)
        rest = joint_ops.log_rest(self.joined, top).exp() / self.coupling.num_samples
        return torch.cat((weights.movedim(-1, 0), rest.expand(self.coupling.num_samples, *rest.shape)))


@frozen
class TopAndRest(Joint):
    """The k most probable joint values of an event, and `num_samples` independent ones of all others.

    Together they estimate E f by `sum_top p(z) f(z) + (1 - p(top)) mean_rest f(z)`.

    Args:
        k: how many are summed.
        num_samples: how many of the rest are drawn.
        event_dims: how many of the last dimensions of variables make an event.

    Source: Liu, Regier, Tripuraneni, Jordan, McAuliffe, "Rao-Blackwellized stochastic gradients for discrete
    distributions", 2019, arXiv 1810.04777.
    """

    k: int
    num_samples: int = 1
    event_dims: int = 1

    def __post_init__(self) -> None:
        checks.count(self.k, "k")
        checks.count(self.num_samples, "num_samples")
        checks.event_dims(self.event_dims)

    @property
    def evaluations(self) -> int:
        return self.k + self.num_samples

    def _sample(self, log_probs: Tensor, generator: torch.Generator | None) -> Tensor:
        top = joint_ops.best(log_probs, self.k)
        *batch, variables, _ = log_probs.shape
        noise = uniform((self.num_samples, variables + 1, *batch), log_probs, generator)
        return torch.cat((top.movedim(-2, 0), joint_ops.sample_rest(log_probs, top, noise)))

    def _points(self, indices: Tensor, logits: Tensor, mask: Tensor | None, log_probs: Tensor) -> TopPoints:
        return TopPoints(indices, logits, mask, self, log_probs)

    def law(self, logits: Tensor) -> Law:
        """The top are there for certain, the others by their share of what is left."""
        log_probs, event = one_event(as_table(self._log_probs(logits), self.event_dims)), logits.shape[:-1]
        words = all_words(log_probs)
        checks.enumerable(len(words), self.num_samples, MOST)
        top = joint_ops.best(log_probs, self.k)
        log_share = joint_ops.log_joint(log_probs, words) - joint_ops.log_rest(log_probs, top)
        left = (words.unsqueeze(1) != top).any(-1).all(-1) & (log_share > -torch.inf)
        share = torch.where(left, log_share.exp(), 0.0)
        if not share.any():  # nothing is left, and the first of the top stands in
            share = (words == top[0]).all(-1).to(share.dtype)
        drawn = torch.cartesian_prod(*[torch.arange(len(words), device=words.device)] * self.num_samples).reshape(
            -1, self.num_samples
        )
        outcomes = torch.cat((top.expand(len(drawn), *top.shape), words[drawn]), 1)
        return Law(outcomes.reshape(*outcomes.shape[:2], *event), share[drawn].prod(-1))


class SetPoints(JointPoints):
    """A set of joint values."""

    def weigh(self) -> Tensor:
        """The weight of s is `p(s) R(S, s)`."""
        return joint_ops.first_ratios(*self.race)


@frozen
class WithoutReplacement(Joint):
    """k different joint values of an event, drawn one after the other without replacement, as a set.

    Together they estimate E f by `sum_s p(s) R(S, s) f(s)`, where `p(s) R(S, s)` is the probability that s came
    first, given the set. Where fewer than k values are possible, all of them are there, and the sum is exact.

    Args:
        k: how many, at most 12.
        event_dims: how many of the last dimensions of variables make an event.

    Source: Kool, van Hoof, Welling, "Stochastic beams and where to find them", 2019, arXiv 1903.06059; the same,
    "Estimating gradients for discrete random variables by sampling without replacement", 2020, arXiv 2002.06043.
    """

    k: int
    event_dims: int = 1

    def __post_init__(self) -> None:
        checks.count(self.k, "k")
        checks.event_dims(self.event_dims)
        if self.k > LARGEST:
            raise ValueError(
                f"the weights of a set of k = {self.k} joint values need all its 2**{self.k} subsets; use a k of at "
                f"most {LARGEST}, or SumAndSample."
            )

    @property
    def evaluations(self) -> int:
        return self.k

    def _sample(self, log_probs: Tensor, generator: torch.Generator | None) -> Tensor:
        *batch, variables, categories = log_probs.shape
        seeded = joint_ops.wants_seed(log_probs)
        noise = uniform((variables, *batch, self.k, categories), log_probs, generator, seeded, log_probs.dtype)
        return joint_ops.without_replacement(log_probs, self.k, noise).movedim(-2, 0)

    def _points(self, indices: Tensor, logits: Tensor, mask: Tensor | None, log_probs: Tensor) -> SetPoints:
        return SetPoints(indices, logits, mask, self, log_probs)

    def law(self, logits: Tensor) -> Law:
        """The law is the set's, whose values are in the order of all joint values, for nothing depends on it."""
        log_probs, event = one_event(as_table(self._log_probs(logits), self.event_dims)), logits.shape[:-1]
        words = all_words(log_probs)
        possible = words[joint_ops.log_joint(log_probs, words) > -torch.inf]
        size = min(self.k, len(possible))
        if math.comb(len(possible), size) > MOST:
            raise ValueError(
                f"there are more than {MOST} sets of {size} of {len(possible)} joint values; give a smaller problem."
            )
        sets = torch.tensor(list(itertools.combinations(range(len(possible)), size)), device=words.device)
        sets = torch.cat((sets, sets[:, :1].expand(-1, self.k - size)), 1)
        chosen = possible[sets]
        probabilities = joint_ops.log_probability(
            *joint_ops.log_masses(log_probs.expand(len(sets), *log_probs.shape), chosen)
        ).exp()
        return Law(chosen.reshape(-1, self.k, *event), probabilities)


def as_table(table: Tensor, event_dims: int) -> Tensor:
    """`[*batch, *event, C]` as `[*batch, V, C]`."""
    return table.flatten(table.ndim - 1 - event_dims, -2) if event_dims else table.unsqueeze(-2)


def as_words(indices: Tensor, event_dims: int) -> Tensor:
    """Ids `[S, *batch, *event]` as joint values `[*batch, S, V]`."""
    return as_rows(indices, event_dims).movedim(0, -2)


def as_rows(tensor: Tensor, event_dims: int) -> Tensor:
    """`[..., *event]` as `[..., V]`; an event of ones, which all variables share, stays one."""
    return tensor.flatten(tensor.ndim - event_dims) if event_dims else tensor.unsqueeze(-1)


def one_event(table: Tensor) -> Tensor:
    """The joined table itself, `[V, C]`; the oracle has no batch."""
    if table.ndim > 2:
        raise ValueError(
            "the law of joint values is that of one event, without batch dimensions; give logits [*event, C] with as "
            "many event dimensions as the estimator's event_dims."
        )
    return table


def all_words(log_probs: Tensor) -> Tensor:
    """All joint values `[C ** V, V]` of `[V, C]`."""
    variables, categories = log_probs.shape
    checks.enumerable(categories, variables, MOST)
    ids = torch.tensor(list(itertools.product(range(categories), repeat=variables)), device=log_probs.device)
    return ids.reshape(-1, variables)
