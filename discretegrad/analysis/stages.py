"""What a monitor saw, summed up by stages of the training."""

from __future__ import annotations

import math
import textwrap
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from discretegrad import checks
from discretegrad.analysis.estimate import Estimate
from discretegrad.analysis.table import WIDTH

EXACT = ("entropy", "effective_categories", "saturated")
ESTIMATED = ("value", "evaluations", "variance", "norm2", "snr", "bias2", "reference_norm2", "cosine")
COLUMNS = (
    "step",
    "stage",
    *EXACT,
    *(column for name in ESTIMATED for column in (name, f"{name}_se")),
    "inner",
    "replicates",
    "seconds",
)
RATIOS: dict[str, tuple[tuple[str, ...], Callable[..., float]]] = {
    "snr": (("norm2", "variance"), lambda norm2, variance: math.sqrt(norm2 / variance)),
    "cosine": (
        ("inner", "norm2", "reference_norm2"),
        lambda inner, norm2, reference_norm2: inner / math.sqrt(norm2 * reference_norm2),
    ),
    "relative_bias": (("bias2", "reference_norm2"), lambda bias2, norm2: math.sqrt(max(0.0, bias2) / norm2)),
}
"""What a stage has from the means of its rows: in a single row the mean gradient may drown in noise."""


@dataclass(frozen=True)
class Stage:
    """Means over the rows of a stage, with standard errors."""

    number: int
    """From 1."""
    first: int
    """Step of the first row."""
    last: int
    """Step of the last row."""
    rows: int
    estimates: dict[str, Estimate]
    """By column, and "relative_bias", the norm of the bias over that of the true gradient; without those that are not
    known."""


@dataclass(frozen=True)
class Progress:
    """All stages. Print it for a table that fits a terminal."""

    stages: tuple[Stage, ...]
    note: str

    def __str__(self) -> str:
        lines = [
            f"{'steps':<12}{'rows':>4}{'value':>10}{'entropy':>8}{'eff.':>7}{'sat.':>5}"
            f"{'variance':>16}{'snr':>7}{'cosine':>11}"
        ]
        for stage in self.stages:
            cells = {name: f"{stage.estimates[name].value:.3g}" for name in stage.estimates}
            for name, digits in (("variance", ".3g"), ("cosine", ".2f")):
                if name in cells:
                    cells[name] = _with_error(stage.estimates[name], digits)
            if "saturated" in cells:
                cells["saturated"] = f"{stage.estimates['saturated'].value:.0%}"
            steps = f"{stage.first}" if stage.first == stage.last else f"{stage.first}-{stage.last}"
            lines.append(
                f"{steps:<12}{stage.rows:>4}{cells.get('value', '-'):>10}{cells.get('entropy', '-'):>8}"
                f"{cells.get('effective_categories', '-'):>7}{cells.get('saturated', '-'):>5}"
                f"{cells.get('variance', '-'):>16}{cells.get('snr', '-'):>7}{cells.get('cosine', '-'):>11}"
            )
        return "\n".join((*lines, *textwrap.wrap(self.note, WIDTH, subsequent_indent="  ")))


def refuse(stages: object) -> None:
    """Refuse what are no stages, of those that `staged` takes."""
    if isinstance(stages, int):
        checks.count(stages, "stages")
    elif (
        not isinstance(stages, Sequence)
        or not all(isinstance(step, int) for step in stages)
        or sorted(set(stages)) != list(stages)
    ):
        raise ValueError(f"stages are ascending steps such as (1000, 4000), or how many there are, not {stages!r}.")


def staged(rows: Sequence[Mapping[str, Any]], stages: int | Sequence[int]) -> list[dict[str, Any]]:
    """The rows with the number of their stage, from 1.

    Args:
        rows: in the order of their steps.
        stages: the last step of every stage but the last, or a number of stages with equally many rows.
    """
    if isinstance(stages, int):
        return [{**row, "stage": 1 + place * stages // len(rows)} for place, row in enumerate(rows)]
    return [{**row, "stage": 1 + bisect_left(stages, row["step"])} for row in rows]


def summed_up(rows: Iterable[Mapping[str, Any]]) -> tuple[Stage, ...]:
    """From rows with stages."""
    by_stage: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_stage.setdefault(row["stage"], []).append(row)
    return tuple(
        Stage(number, of_stage[0]["step"], of_stage[-1]["step"], len(of_stage), _estimates(of_stage))
        for number, of_stage in sorted(by_stage.items())
    )


def _estimates(rows: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    found = {name: _mean(rows, name) for name in (*EXACT, *ESTIMATED) if name not in RATIOS}
    found |= {name: _ratio(rows, *ratio) if len(rows) > 1 else _mean(rows, name) for name, ratio in RATIOS.items()}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _ratio(rows: Sequence[Mapping[str, Any]], names: tuple[str, ...], of: Callable[..., float]) -> Estimate | None:
    """A function of means over the rows, with the jackknife's standard error; None where noise leaves no number."""
    known = [[row[name] for name in names] for row in rows if all(row[name] is not None for name in names)]
    if len(known) < 2:
        return None
    sums = [math.fsum(column) for column in zip(*known, strict=True)]
    try:
        value = of(*sums)
        without = [of(*(total - cell for total, cell in zip(sums, row, strict=True))) for row in known]
    except (ValueError, ZeroDivisionError):  # a squared norm below zero
        return None
    centre = math.fsum(without) / len(without)
    spread = math.fsum((one - centre) ** 2 for one in without)
    return Estimate(value, math.sqrt(spread * (len(without) - 1) / len(without)))


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> Estimate | None:
    """Over the rows that have it.

    Its error counts what the rows differ by, measurement and batch alike, but not a trend: it is from half the squared
    differences of neighbours (von Neumann 1941). A single row has its own error.
    """
    known = [row for row in rows if row.get(name) is not None]
    if not known:
        return None
    values = [row[name] for row in known]
    count, mean = len(values), math.fsum(values) / len(values)
    if count == 1:
        error = known[0].get(f"{name}_se")
        return Estimate(mean, math.nan if error is None else error)
    steps = (after - before for before, after in pairwise(values))
    return Estimate(mean, math.sqrt(math.fsum(step**2 for step in steps) / (2 * (count - 1) * count)))


def _with_error(estimate: Estimate, digits: str) -> str:
    error = "" if math.isnan(estimate.error) else f"+-{estimate.error:.1g}"
    return f"{estimate.value:{digits}}{error}"
