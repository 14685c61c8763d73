"""Joint values of an event: the most probable and a sample of the rest, and a set without replacement."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Coupling, Law
from discretegrad.frozen import frozen
from discretegrad.ops import joint as joint_ops
from discretegrad.ops.joint.race import LARGEST
from discretegrad.ops.noise import uniform

MOST = 2**20
"""The most outcomes of a joint law that the oracle is given."""


class JointPlan(NamedTuple):
    """Probabilities and their logarithms, which hold what underflows."""

    probs: Tensor
    log_probs: Tensor
    event_dims: int


class Joint(Coupling):
    """A coupling of whole events. An event whose variables are all off, or certain, has one possible value."""

    event_dims: int

    def plan(self, logits: Tensor) -> JointPlan:
        """Log-probabilities."""
        checks.has_event_dims(logits.shape[:-1], self.event_dims, type(self).__name__)
        log_probs = logits.log_softmax(-1)
        return JointPlan(log_probs.exp(), log_probs, self.event_dims)

    def sample(self, plan: JointPlan, generator: torch.Generator | None) -> Tensor:
        """Draw joint values."""
        ids = self._sample(joined(plan), generator)
        return ids.reshape(ids.shape[0], *plan.probs.shape[:-1])

    @abstractmethod
    def _sample(self, log_probs: Tensor, generator: torch.Generator | None) -> Tensor:
        """`[S, *batch, V]`, from `[*batch, V, C]`."""


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
        """k + num_samples."""
        return self.k + self.num_samples

    def _sample(self, log_probs: Tensor, generator: torch.Generator | None) -> Tensor:
        top = joint_ops.best(log_probs, self.k)
        *batch, variables, _ = log_probs.shape
        noise = uniform((self.num_samples, variables + 1, *batch), log_probs, generator)
        return torch.cat((top.movedim(-2, 0), joint_ops.sample_rest(log_probs, top, noise)))

    def value_weights(self, plan: JointPlan, indices: Tensor) -> Tensor:
        """`p(z)` at the top, `(1 - p(top)) / num_samples` at the others."""
        top = as_words(indices[: self.k], self.event_dims)
        log_probs = joined(plan)
        weights = joint_ops.log_joint(log_probs, top).exp().masked_fill(joint_ops.repeats(top), 0.0)
        rest = joint_ops.log_rest(log_probs, top).exp() / self.num_samples
        return torch.cat((weights.movedim(-1, 0), rest.expand(self.num_samples, *rest.shape)))

    def law(self, plan: JointPlan) -> Law:
        """The top for certain, the others by their share of what is left."""
        log_probs, event = one_event(joined(plan)), plan.probs.shape[:-1]
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
        """k."""
        return self.k

    def _sample(self, log_probs: Tensor, generator: torch.Generator | None) -> Tensor:
        *batch, variables, categories = log_probs.shape
        noise = uniform((variables, *batch, self.k, categories), log_probs, generator, dtype=log_probs.dtype)
        return joint_ops.without_replacement(log_probs, self.k, noise).movedim(-2, 0)

    def value_weights(self, plan: JointPlan, indices: Tensor) -> Tensor:
        """`p(s) R(S, s)`."""
        return joint_ops.first_ratios(*race(plan, indices))

    def law(self, plan: JointPlan) -> Law:
        """Of the set; the order of its values is that of all joint values, for nothing depends on it."""
        log_probs, event = one_event(joined(plan)), plan.probs.shape[:-1]
        words = all_words(log_probs)
        possible = words[joint_ops.log_joint(log_probs, words) > -torch.inf]
        size = min(self.k, len(possible))
        if math.comb(len(possible), size) > MOST:
            raise ValueError(
                f"there are more than {MOST} sets of {size} of {len(possible)} joint values; give a smaller problem."
            )
        sets = torch.tensor(list(itertools.combinations(range(len(possible)), size)), device=words.device)
        sets = torch.cat((sets, sets[:, :1].expand(-1, self.k - size)), 1)
        outcomes = possible[sets].reshape(-1, self.k, *event)
        of_sets = plan._replace(
            probs=plan.probs.expand(len(sets), *plan.probs.shape),
            log_probs=plan.log_probs.expand(len(sets), *plan.log_probs.shape),
        )
        return Law(outcomes, joint_ops.log_probability(*race(of_sets, outcomes.transpose(0, 1))).exp())


def joined(plan: JointPlan) -> Tensor:
    """Log-probabilities `[*batch, V, C]` with the event flattened."""
    return as_table(plan.log_probs, plan.event_dims)


def as_table(table: Tensor, event_dims: int) -> Tensor:
    """`[*batch, *event, C]` as `[*batch, V, C]`."""
    return table.flatten(table.ndim - 1 - event_dims, -2) if event_dims else table.unsqueeze(-2)


def as_words(indices: Tensor, event_dims: int) -> Tensor:
    """Ids `[S, *batch, *event]` as joint values `[*batch, S, V]`."""
    return as_rows(indices, event_dims).movedim(0, -2)


def as_rows(tensor: Tensor, event_dims: int) -> Tensor:
    """`[..., *event]` as `[..., V]`; an event of ones, which all variables share, stays one."""
    return tensor.flatten(tensor.ndim - event_dims) if event_dims else tensor.unsqueeze(-1)


def race(plan: JointPlan, indices: Tensor) -> tuple[Tensor, Tensor]:
    """What the laws of a set need: the log-probabilities `[k, *batch]` of its values, and that of all others."""
    log_probs, words = joined(plan), as_words(indices, plan.event_dims)
    of_words = joint_ops.log_joint(log_probs, words).masked_fill(joint_ops.repeats(words), -torch.inf)
    return of_words.movedim(-1, 0), joint_ops.log_rest(log_probs, words)


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
