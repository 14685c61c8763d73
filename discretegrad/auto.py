"""Which estimator for this f and these logits? Measured, not guessed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.analysis.estimate import Estimate, mean, p_value
from discretegrad.analysis.known import NOTHING_UNBIASED, sentence
from discretegrad.analysis.moments import GROUPS, Moments, Truth
from discretegrad.analysis.replicator import Problem, Replicator, named
from discretegrad.analysis.restore import restored
from discretegrad.core import Estimator
from discretegrad.coupling import NearlyDistinct
from discretegrad.estimators import ARMS, CARMS, RLOO, DisARM, DisARMSB, DisARMTree, DoubleCV, Flow, MuProp

CRITERIA = ("variance", "variance_evaluations", "variance_time")
REFERENCE = 4
"""How many times the replicates the bias is measured against."""


@dataclass(frozen=True)
class Measurement:
    """What was measured of a candidate."""

    name: str
    estimator: Estimator
    evaluations: Estimate
    """Of f, for one gradient; random where equal points are evaluated once."""
    variance: Estimate
    """Of the gradient w.r.t. the logits, summed over their entries."""
    mean_squared_error: Estimate
    """The variance and, of a biased candidate, the squared bias."""
    seconds: Estimate
    """For one draw, f there, and the gradient w.r.t. the logits."""
    number: Estimate
    """What the criterion compares: less is better."""

    def exceeds(self, other: Measurement, level: float) -> bool:
        """Whether the number is larger by more than noise."""
        return self.number.value > other.number.value and p_value(self.number, other.number) <= level


@dataclass(frozen=True)
class Choice:
    """The estimator that `Auto` chose, and why; printed, it is a table of 80 columns."""

    estimator: Estimator
    name: str
    leads: bool
    """Whether all others are worse by more than the noise of the measurement."""
    reason: str
    criterion: str
    table: tuple[Measurement, ...]
    """Of the candidates that could be measured, in the order in which they were given."""
    failures: dict[str, str]
    """Of the others: what went wrong."""

    def __str__(self) -> str:
        lines = [f"{'':2}{'candidate':<22}{'f':>5}{'variance':>18}{'seconds':>10}{self.criterion:>23}"]
        for row in self.table:
            lines.append(
                f"{'*' if row.name == self.name else ' '} {row.name[:21]:<22}{row.evaluations.value:>5.4g}"
                f"{row.variance!s:>18}{row.seconds.value:>10.1e}{row.number!s:>23}"
            )
        for name, failure in self.failures.items():
            lines += textwrap.wrap(f"{name} failed: {failure}", 80, initial_indent="  ", subsequent_indent="    ")
        return "\n".join((*lines, *textwrap.wrap(self.reason, 80)))


@dataclass(frozen=True)
class Auto:
    """Chooses among estimators by measuring them on the user's own f and batch.

        number = variance | variance * evaluations | variance * seconds | mean squared error

    of one gradient w.r.t. the logits, from replicates at the same logits. The candidate with the least number leads if
    those of all others are larger by more than noise. If not, the cheapest of those that are not is chosen: the fewest
    evaluations, then without the gradient of f, then the first in the list. Where candidates are equally good, a lead
    is claimed with a probability of about `level` at most.

    Nothing is changed: no `.grad`, no state of a learner, of a module that f holds, or of a random generator. What
    learns is judged as it is now.
    Where f uses the logits itself, that part of the gradient is not counted.

    Args:
        candidates: estimators in a sequence, or in a mapping from names, all of one latent. By default of 4
            evaluations each: `RLOO`; `DisARMTree`, `DisARMSB`, `Flow` and `CARMS` for categories, `DisARM` and `ARMS`
            for bits; and `MuProp` and `DoubleCV`, which fail, and say so, where f has no gradient.
        replicates: how many gradients of every candidate, at least 16.
        criterion: "variance", "variance_evaluations" (the default: for equal evaluations) or "variance_time" (for equal
            time; the only one that a generator does not determine).
        level: of the test for a lead, two-sided, divided by the number of others.
        allow_biased: compare mean squared errors instead, whatever they cost. The bias is that against 4 times as many
            new replicates of the unbiased candidate of least variance, whose noise counts in the standard error.
        rounds: how often each candidate is timed.
        latent: of the default candidates.

    Raises:
        TypeError, ValueError: for candidates that cannot be compared; from the call, if none could be measured.

    Example:
        >>> import torch, discretegrad as dg
        >>> f = lambda points: (points * torch.arange(4.0)).sum((-1, -2)).square()
        >>> choice = dg.Auto([dg.Reinforce(2), dg.RLOO(2)])(f, torch.zeros(5, 3, 4), torch.Generator().manual_seed(0))
        >>> choice.estimator == dg.RLOO(2), choice.leads
        (True, True)
    """

    candidates: Sequence[Estimator] | Mapping[str, Estimator] | None = None
    replicates: int = 128
    criterion: str | None = None
    level: float = 0.05
    allow_biased: bool = False
    rounds: int = 9
    latent: str = "categorical"

    def __post_init__(self) -> None:
        checks.named_latent(self.latent)
        checks.count(self.replicates, "replicates")
        checks.count(self.rounds, "rounds")
        if self.replicates < 16:
            raise ValueError(f"replicates must be at least 16 for a standard error, not {self.replicates}.")
        if self.criterion not in (None, *CRITERIA):
            raise ValueError(f"criterion is one of {', '.join(map(repr, CRITERIA))}, not {self.criterion!r}.")
        if self.allow_biased and self.criterion is not None:
            raise ValueError(
                "a bias does not average out, so its square times a cost means nothing; with allow_biased=True, which "
                "compares mean squared errors, leave criterion at None."
            )
        if not 0 < self.level < 1:
            raise ValueError(f"level is the rate of false leads, between 0 and 1, not {self.level!r}.")
        candidates = self._named()
        if not candidates:
            raise ValueError("there are no candidates; give some estimators, or None for the default ones.")
        for name, estimator in candidates.items():
            self._refuse(name, estimator)
        if len({estimator.latent for estimator in candidates.values()}) > 1:
            raise ValueError("the candidates are for different latents; give those of one latent only.")
        if not any(estimator.unbiased for estimator in candidates.values()):
            raise ValueError("the bias is measured against an unbiased candidate, and there is none; add RLOO().")

    def __call__(
        self,
        f: Callable[[Tensor], Tensor],
        logits: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        context: Any = None,
    ) -> Choice:
        """Measure all candidates.

        Args:
            f: from points `[S, *batch, *event, C]` to values `[S, *batch]`, for any S. Where f is random, it is called
                for one replicate at a time.
            logits: those of the user's batch.
            generator: as in a call of an estimator; its state is restored.
            mask: as in a call of an estimator.
            context: as in a call of an estimator.

        Raises:
            ValueError: if no candidate could be measured, and for an f that mixes the points of a call: for that none
                is unbiased.
        """
        candidates = self._named()
        latent = checks.named_latent(next(iter(candidates.values())).latent)
        checks.logits(logits, latent, mask, validate=None)
        problem = Problem(f, logits.detach(), generator, mask, context)
        moments: dict[str, Moments] = {}
        evaluations: dict[str, Estimate] = {}
        failures: dict[str, str] = {}
        learners = [learner for estimator in candidates.values() for learner in estimator.learners]
        with restored(logits.device, f, generator, learners), torch.enable_grad():
            problem = replace(problem, known=problem.look(latent.name))
            if problem.known.mixes:
                raise ValueError(NOTHING_UNBIASED)
            for name, estimator in candidates.items():
                try:
                    found, evaluations[name] = _measured(problem, estimator, self.replicates)
                except Exception as error:  # whatever a candidate or f stumbles over, the others go on
                    failures[name] = sentence(error)
                    continue
                if found.average().isfinite().all():
                    moments[name] = found
                else:
                    failures[name] = "its gradients are not finite; look for NaN or infinity in the values of f."
            self._refuse_none(moments, candidates, failures)
            variances = {name: of_name.summary().variance for name, of_name in moments.items()}
            losses = self._losses(problem, candidates, moments, variances)
            seconds = problem.seconds([candidates[name] for name in moments], self.rounds)
        rows = []
        for name, time in zip(moments, seconds, strict=True):
            if isinstance(time, Exception):
                failures[name] = f"while it was timed: {sentence(time)}"
                continue
            costs = {"variance_evaluations": evaluations[name], "variance_time": time}
            loss, number = losses[name], losses[name] * costs.get(self._compares, Estimate(1.0, 0.0))
            rows.append(Measurement(name, candidates[name], evaluations[name], variances[name], loss, time, number))
        self._refuse_none([row.name for row in rows], candidates, failures)
        return self._choose(rows, failures)

    @property
    def _compares(self) -> str:
        return "mean_squared_error" if self.allow_biased else self.criterion or "variance_evaluations"

    def _named(self) -> dict[str, Estimator]:
        return named(_defaults(self.latent) if self.candidates is None else self.candidates)

    def _refuse(self, name: str, estimator: Estimator) -> None:
        if not isinstance(estimator, Estimator):
            raise TypeError(f"candidate {name!r} must be an estimator such as RLOO(), not {estimator!r}.")
        if estimator.of_bound:
            raise ValueError(
                f"{name} differentiates a multi-sample bound, not E f, and its variance compares with no other's; "
                "leave it out."
            )
        if not (estimator.unbiased or self.allow_biased):
            raise ValueError(
                f"{name} is biased, which its variance does not show; leave it out, or compare mean squared errors "
                "with allow_biased=True."
            )

    def _refuse_none(
        self, measured: Iterable[str], candidates: Mapping[str, Estimator], failures: Mapping[str, str]
    ) -> None:
        if not any(candidates[name].unbiased for name in measured):
            each = "; ".join(f"{name}: {failure}" for name, failure in failures.items())
            raise ValueError(f"no unbiased candidate could be measured. {each}")

    def _losses(
        self,
        problem: Problem,
        candidates: Mapping[str, Estimator],
        moments: Mapping[str, Moments],
        variances: Mapping[str, Estimate],
    ) -> dict[str, Estimate]:
        """The mean squared errors: variances, where nothing is biased."""
        biased = [name for name in moments if not candidates[name].unbiased]
        losses = dict(variances)
        if biased:
            best = min((name for name in moments if name not in biased), key=lambda name: variances[name].value)
            reference, _ = _measured(problem, candidates[best], REFERENCE * self.replicates)
            truth = Truth(reference.average(), reference)
            losses.update({name: moments[name].summary(truth).mean_squared_error for name in biased})
        return losses

    def _choose(self, rows: list[Measurement], failures: dict[str, str]) -> Choice:
        best = min(rows, key=lambda row: row.number.value)
        others = sorted((row for row in rows if row is not best), key=lambda row: row.number.value)
        rivals = [row for row in others if not row.exceeds(best, self.level / len(others))]
        chosen = min(
            (best, *rivals), key=lambda row: (row.evaluations.value, row.estimator.needs_grad_f, rows.index(row))
        )
        if not others:
            reason = f"{best.name} is the only candidate that could be measured."
        elif not rivals:
            second = others[0]
            reason = (
                f"{best.name} leads: its {self._compares} is {best.number.value / second.number.value:.2g} times that "
                f"of {second.name}, the next, and all others are above it by more than noise."
            )
        else:
            equal = ", ".join(row.name for row in (best, *rivals) if row is not chosen)
            reason = (
                f"Nobody leads by more than noise. {chosen.name} is the cheapest, or the first in the list, of those "
                f"whose {self._compares} may be the least (also {equal}); more replicates may tell them apart."
            )
        return Choice(
            chosen.estimator, chosen.name, bool(others) and not rivals, reason, self._compares, tuple(rows), failures
        )


def _measured(problem: Problem, estimator: Estimator, replicates: int) -> tuple[Moments, Estimate]:
    """Moments of the gradient, and the evaluations of f for one."""
    logits = problem.logits
    moments, counts = Moments({"logits": logits.numel()}, logits.device, min(GROUPS, replicates)), []
    for found in Replicator(problem, estimator).take(replicates):
        moments.update(found.gradients)
        counts += [float(found.evaluations)] * len(found.gradients)
    return moments, mean(torch.tensor(counts, dtype=torch.float64, device="cpu"))


def _defaults(latent: str) -> list[Estimator]:
    of_latent: list[Estimator] = (
        [DisARM(2), ARMS(4)]
        if latent == "bernoulli"
        else [DisARMTree(2), DisARMSB(2), Flow(NearlyDistinct(2)), CARMS(4)]
    )
    return [RLOO(4, latent), *of_latent, MuProp(3, latent), DoubleCV(4, latent=latent)]
