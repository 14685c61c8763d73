"""The measurement of a report's cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import UserError
from experiments.studies.variance.claims import estimate
from experiments.studies.variance.report import Cell, Report
from experiments.studies.variance.specs import estimator
from experiments.studies.variance.vae import train

if TYPE_CHECKING:  # takes scipy with it
    from discretegrad.analysis import Comparison

ROUNDING = 1e-20
"""Of the squared norm of the gradient: a variance or a squared bias of so little is none."""


@dataclass
class Found:
    """What was measured, as rows for tables and figures."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    leaders: list[dict[str, Any]] = field(default_factory=list)
    """Of each cell, by each criterion, those whom nobody beats."""
    truths: dict[str, str] = field(default_factory=dict)
    """Of each cell that was measured, where its truth is from."""
    unfinished: list[str] = field(default_factory=list)
    """Cells of which something is still to be measured."""

    @property
    def notice(self) -> str:
        """What is missing, and how to get it."""
        return (
            f"Not measured to the end: {'; '.join(self.unfinished)}. Start the jobs that measure them again, which go "
            "on from what they have, and then merge again."
        )

    def add(self, comparison: Comparison, cell: Cell) -> None:
        """What was measured in a cell."""
        from discretegrad.analysis.ranking import rank

        own = {"cell": cell.label, "kind": cell.kind, **{key: v for key, v in cell.arguments.items() if key != "run"}}
        own |= cell.problem().facts
        wanted = cell.estimators  # a file may hold more, of an earlier configuration
        rows = [
            {**own, "family": wanted[row["name"]], **_rounded(row)}
            for row in comparison.rows()
            if row["name"] in wanted
        ]
        for row in comparison.layer_rows():
            if row["name"] in wanted:
                self.layers.append({**own, "family": wanted[row["name"]], **row})
        self.rows += rows
        for criterion in ("variance", "variance_evaluations", "variance_time", "mse"):
            numbers = {
                row["name"]: estimate(row, criterion)
                for row in rows
                if row["failure"] is None and row[criterion] is not None and (row["unbiased"] or criterion == "mse")
            }
            if numbers:
                leaders = rank(criterion, numbers, comparison.confidence).leaders
                self.leaders.append({"cell": cell.label, "criterion": criterion, "leaders": leaders})
        self.truths[cell.label] = comparison.truth_name


def prepare(report: Report, cells: Sequence[Cell], out: Path) -> None:
    """Train the runs that these cells need and that nobody has trained yet, with all checkpoints of the report."""
    for name, overrides in report.training.items():
        folder = out / "runs" / name
        steps = {cell.arguments["step"] for cell in report.cells if cell.arguments.get("run") == str(folder)}
        if any(cell.arguments.get("run") == str(folder) for cell in cells):
            train(folder, sorted(steps), overrides)


def measure(cells: Sequence[Cell], out: Path, progress: bool, **settings: Any) -> Found:
    """Compare in every cell, or take up what its file has.

    Args:
        cells: which.
        out: folder of the report; the comparisons go to its folder `cells`.
        progress: whether to say where it is.
        settings: of `analysis.compare`.
    """
    from discretegrad import analysis

    found = Found()
    for number, cell in enumerate(cells, 1):
        if progress:
            print(f"{number}/{len(cells)} {cell.label}", flush=True)
        problem = cell.problem()
        estimators = {spec: estimator(spec, problem.latent) for spec in cell.estimators}
        try:
            comparison = analysis.compare(
                problem.f,
                problem.logits,
                estimators,
                wrt=problem.wrt,
                reference=problem.reference,
                context=problem.context,
                path=out / "cells" / cell.file,
                progress=None if progress else False,
                **settings,
            )
        except ValueError as error:
            raise UserError(f"{cell.label}: {error}") from error
        found.add(comparison, cell)
    return found


def gather(reports: Mapping[Path, Report], confidence: float, precision: float, replicates: int, rounds: int) -> Found:
    """What several jobs have measured, each in its folder; those of one cell are merged, and nothing is measured.

    Args:
        reports: by the folder, the report as it is measured there.
        confidence, precision, replicates, rounds: of `analysis.compare`: what was to be measured.

    Raises:
        UserError: where two folders have the same replicates, or nothing is there.
    """
    from experiments.studies.variance.show import gather as together

    found = Found()
    for cells in zip(*(report.cells for report in reports.values()), strict=True):
        there = {folder / "cells" / cell.file: cell for folder, cell in zip(reports, cells, strict=True)}
        there = {file: cell for file, cell in there.items() if file.exists()}
        try:
            comparisons = list(together(list(there)).values())
        except ValueError as error:
            raise UserError(f"{cells[0].label}: {error}") from error
        if len(comparisons) > 1:
            raise UserError(f"{' and '.join(map(str, there))} are of different problems; merge folders of one report.")
        for comparison, cell in zip(comparisons, there.values(), strict=False):
            comparison.confidence = confidence
            found.add(comparison, cell)
        done = {
            row["name"]
            for row in found.rows
            if row["cell"] == cells[0].label and _done(row, precision, replicates, rounds)
        }
        if done != cells[0].estimators.keys():
            found.unfinished.append(cells[0].label)
    if not found.rows:
        raise UserError(f"nothing of this report is measured in {' or '.join(map(str, reports))}; measure it first.")
    return found


def _done(row: Mapping[str, Any], precision: float, replicates: int, rounds: int) -> bool:
    """Whether `analysis.compare` would measure no more of an estimator."""
    if row["failure"] is not None:
        return True
    known = row["replicates"] >= replicates or row["variance_se"] <= precision * row["variance"]
    return known and (not rounds or row["seconds"] is not None)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Zero where there is nothing but rounding."""
    if row["failure"] is not None or row["norm2"] is None:
        return row
    least, zero = ROUNDING * row["norm2"], list[str]()
    if row["variance"] < least:
        measured = [name for name, cell in row.items() if cell is not None and not name.endswith("_freedom")]
        zero += [name for name in measured if name.startswith("variance")]
    if row["bias2"] is not None and abs(row["bias2"]) < least and row["bias2_se"] < least:
        zero += ["bias2", "bias2_se"]
    if row["mse"] is not None and row["mse"] < least:
        zero += ["mse", "mse_se"]
    return {**row, **dict.fromkeys(zero, 0.0)}
