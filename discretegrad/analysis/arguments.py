"""What `compare` cannot be asked."""

from __future__ import annotations

from collections.abc import Mapping

from discretegrad import checks
from discretegrad.analysis.moments import GROUPS
from discretegrad.analysis.ranking import refuse_unknown
from discretegrad.analysis.record import FEWEST
from discretegrad.checks import installed
from discretegrad.core import Estimator

KEPT = GROUPS + 4
"""Doubles for each entry of the gradient and each estimator: group means, spread, unit vectors, and the result."""
AT_WORK = 3 * GROUPS + 4
"""Doubles for each entry beside, whoever's turn it is."""


def refuse_estimators(candidates: Mapping[str, Estimator], reference: Estimator | None, truth: object) -> None:
    """Refuse estimators that cannot be compared, and a reference that is none.

    Raises:
        TypeError, ValueError: that says what to give instead.
    """
    if not candidates:
        raise ValueError("there are no estimators to compare; give some, such as [RLOO(4), DisARMTree(2)].")
    for name, estimator in candidates.items():
        if not isinstance(estimator, Estimator):
            raise TypeError(f"estimator {name!r} must be one such as RLOO(), not {estimator!r}.")
        if estimator.of_bound:
            raise ValueError(
                f"{name} differentiates a multi-sample bound, not E f, and compares with no other; leave it out."
            )
    if len({estimator.latent for estimator in candidates.values()}) > 1:
        raise ValueError("the estimators are for different latents; give those of one latent only.")
    if reference is not None and not (isinstance(reference, Estimator) and reference.unbiased):
        raise ValueError(
            "the reference must be an unbiased estimator such as RLOO(4): the others' bias is measured by it."
        )
    if reference is not None and truth is not None:
        raise ValueError("a truth that is given or left out needs no long run; leave out the reference, or the truth.")


def refuse_settings(precision: float, replicates: int, rounds: int, confidence: float) -> None:
    """Refuse numbers that cannot be meant.

    Raises:
        ValueError: that says which.
    """
    checks.positive(precision, "precision")
    checks.count(replicates, "replicates")
    if replicates < FEWEST:
        raise ValueError(f"replicates must be at least {FEWEST} for a standard error, not {replicates}.")
    if rounds:
        checks.count(rounds, "rounds")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is a probability between 0 and 1, not {confidence!r}.")


def refuse_criterion(criterion: str | None, average: int | None, truth: object) -> None:
    """Refuse to rank by what does not go together.

    Raises:
        ValueError: that says what to leave out.
    """
    if criterion is not None:
        refuse_unknown(criterion)
    if average is not None:
        checks.count(average, "average")
    if average is not None and criterion not in (None, "mse"):
        raise ValueError(
            f"a bias does not average out, so {criterion} means nothing of the mean of {average} estimates; leave out "
            "the criterion, or average."
        )
    if truth is False and (average is not None or criterion == "mse"):
        raise ValueError("mean squared errors are distances from the truth; leave out truth=False.")


def held(entries: int, records: int) -> int:
    """Bytes on the CPU for so many estimators, the long run among them."""
    return 8 * entries * (KEPT * records + AT_WORK)


def refuse_memory(entries: int, records: int) -> None:
    """Raise where a comparison would hold more than the machine has.

    Raises:
        ValueError: with how much that is.
    """
    needed, there = held(entries, records), installed()
    if there is not None and needed > there:
        raise ValueError(
            f"the gradient has {entries} entries, so that the comparison would hold {needed / 2**30:.3g} GiB, and the "
            f"machine has {there / 2**30:.3g} GiB; measure fewer layers, by wrt or the second argument, or fewer "
            "estimators at a time."
        )
