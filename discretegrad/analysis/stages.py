"""What a monitor saw, summed up by stages of the training."""

from __future__ import annotations

import math
import textwrap
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from discretegrad.analysis.table import WIDTH
from discretegrad.measure import Estimate

EXACT = ("entropy", "effective_categories", "saturated")
ESTIMATED = ("value", "evaluations", "variance", "snr", "cosine", "bias2")
COLUMNS = (
    "step",
    "stage",
    *EXACT,
    *(column for name in ESTIMATED for column in (name, f"{name}_se")),
    "replicates",
    "seconds",
)


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
    """By column; those that no row has are missing."""


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
            cells |= {name: _with_error(stage.estimates[name]) for name in ("variance", "cosine") if name in cells}
            if "saturated" in cells:
                cells["saturated"] = f"{stage.estimates['saturated'].value:.0%}"
            steps = f"{stage.first}" if stage.first == stage.last else f"{stage.first}-{stage.last}"
            lines.append(
                f"{steps:<12}{stage.rows:>4}{cells.get('value', '-'):>10}{cells.get('entropy', '-'):>8}"
                f"{cells.get('effective_categories', '-'):>7}{cells.get('saturated', '-'):>5}"
                f"{cells.get('variance', '-'):>16}{cells.get('snr', '-'):>7}{cells.get('cosine', '-'):>11}"
            )
        return "\n".join((*lines, *textwrap.wrap(self.note, WIDTH, subsequent_indent="  ")))


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
        Stage(
            number,
            of_stage[0]["step"],
            of_stage[-1]["step"],
            len(of_stage),
            {name: mean for name in (*EXACT, *ESTIMATED) if (mean := _mean(of_stage, name)) is not None},
        )
        for number, of_stage in sorted(by_stage.items())
    )


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


def _with_error(estimate: Estimate) -> str:
    error = "" if math.isnan(estimate.error) else f"+-{estimate.error:.1g}"
    return f"{estimate.value:.3g}{error}"
