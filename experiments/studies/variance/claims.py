"""Whether a claim held: decided by tests that are right together with the stated confidence, never by eye."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from discretegrad.analysis.estimate import Estimate, p_value
from discretegrad.analysis.moments import GROUPS
from experiments.studies.variance.report import Claim, Report


@dataclass(frozen=True)
class Line:
    """One comparison: one claim, one cell, two estimators."""

    claim: int
    """Its number, from 1."""
    cell: str
    criterion: str
    less: str
    more: str
    less_value: float
    less_se: float
    more_value: float
    more_se: float
    ratio: float
    ratio_se: float
    decision: str
    """"yes": less than (1 + margin) times the other by more than noise; "no": more; "open": neither."""


@dataclass(frozen=True)
class Verdict:
    """Of one claim."""

    claim: Claim
    lines: tuple[Line, ...]
    word: str
    """"held": yes in all cells; "held where decided": in some, and in none no; "not everywhere": yes in some, no in
    others; "did not hold": no in some, and in none yes; "undecided": open in all; "not tested here": no such
    problem."""

    def count(self, decision: str) -> int:
        """In how many cells it was decided so."""
        return sum(line.decision == decision for line in self.lines)

    @property
    def span(self) -> str:
        """The least and the greatest ratio."""
        ratios = sorted((line.ratio, line.ratio_se) for line in self.lines if math.isfinite(line.ratio))
        if not ratios:
            return ""
        shown = [f"{ratio:.3g} ± {error:.1g}" if ratio else "0" for ratio, error in (ratios[0], ratios[-1])]
        return shown[0] if len(ratios) == 1 else " to ".join(shown)


def decide(report: Report, rows: Sequence[Mapping[str, Any]], confidence: float) -> list[Verdict]:
    """All claims of a report.

    Each comparison is `analysis.p_value` of two independent estimates, `less` and `(1 + margin) more`; Bonferroni's
    correction over all comparisons of the report keeps the probability of any false "yes" or "no" in it at
    `1 - confidence` at most.
    """
    measured = {(row["cell"], row["name"]): row for row in rows if row["failure"] is None}
    wanted = [
        (number, claim, cell.label, less, more)
        for number, claim in enumerate(report.claims, 1)
        for cell in report.cells
        for less, more in report.pairs(claim, cell)
    ]
    level = (1 - confidence) / max(1, len(wanted))
    lines: dict[int, list[Line]] = {number: [] for number in range(1, len(report.claims) + 1)}
    for number, claim, cell, less, more in wanted:
        one, other = measured.get((cell, less)), measured.get((cell, more))
        if one is None or other is None or one[claim.criterion] is None or other[claim.criterion] is None:
            numbers = (math.nan,) * 6
            lines[number].append(Line(number, cell, claim.criterion, less, more, *numbers, "open"))
            continue
        lines[number].append(_line(number, claim, one, other, level))
    return [Verdict(claim, tuple(lines[number]), _word(lines[number])) for number, claim in enumerate(report.claims, 1)]


def estimate(row: Mapping[str, Any], criterion: str) -> Estimate:
    """What a row of a comparison says, with the degrees of freedom of a variance where it names no others."""
    return Estimate(row[criterion], row[f"{criterion}_se"], row.get(f"{criterion}_freedom", GROUPS - 1))


def test(less: Estimate, more: Estimate, level: float) -> str:
    """Whether one number is below another: "yes", "no", or "open"."""
    if p_value(less, more) > level:
        return "open"
    return "yes" if less.value < more.value else "no"


def _line(number: int, claim: Claim, one: Mapping[str, Any], other: Mapping[str, Any], level: float) -> Line:
    key = claim.criterion
    less, less_se, more, more_se = one[key], one[f"{key}_se"], other[key], other[f"{key}_se"]
    ratio = less / more if more > 0 else math.nan
    error = abs(ratio) * math.hypot(less_se / less, more_se / more) if less and more > 0 else math.nan
    decision = test(estimate(one, key), estimate(other, key) * Estimate(1 + claim.margin, 0.0), level)
    return Line(
        number, one["cell"], key, one["name"], other["name"], less, less_se, more, more_se, ratio, error, decision
    )


def _word(lines: Sequence[Line]) -> str:
    decisions = {line.decision for line in lines}
    if not decisions:
        return "not tested here"
    if decisions == {"yes"}:
        return "held"
    if "no" in decisions:
        return "not everywhere" if "yes" in decisions else "did not hold"
    return "held where decided" if "yes" in decisions else "undecided"


@dataclass(frozen=True)
class Crossover:
    """From how many evaluations of f on the averaged unbiased estimates have the smaller mean squared error."""

    cell: str
    name: str
    bias2: float
    bias2_se: float
    relative_bias: float
    """The bias over the norm of the gradient."""
    evaluations: float
    evaluations_se: float
    """Zero: at once; infinite: no bias was seen."""


def crossovers(rows: Sequence[Mapping[str, Any]], unbiased: str, confidence: float) -> list[Crossover]:
    """Of all biased estimators, both averaged over N evaluations: `V_u / N = V_b / N + bias^2`.

    V is the variance times the evaluations of one estimate. A bias below its noise gives no number.
    """
    from scipy import stats

    found = []
    for row in rows:
        base = next((r for r in rows if r["cell"] == row["cell"] and r["name"] == unbiased), None)
        if base is None or row["failure"] or base["failure"] or row["unbiased"] or row["bias2"] is None:
            continue
        bias2, error = row["bias2"], row["bias2_se"]
        gain = base["variance_evaluations"] - row["variance_evaluations"]
        gain_se = math.hypot(base["variance_evaluations_se"], row["variance_evaluations_se"])
        if bias2 <= float(stats.t.isf((1 - confidence) / 2, GROUPS - 1)) * error:
            count, count_se = math.inf, math.nan
        elif gain <= 0:
            count, count_se = 0.0, math.nan
        else:
            count = gain / bias2
            count_se = count * math.hypot(gain_se / gain, error / bias2)
        relative = math.sqrt(max(0.0, bias2) / row["norm2"]) if row["norm2"] > 0 else math.nan
        found.append(Crossover(row["cell"], row["name"], bias2, error, relative, count, count_se))
    return found
