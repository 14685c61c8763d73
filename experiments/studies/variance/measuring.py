"""The measurement of a report's cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from discretegrad import analysis
from discretegrad.analysis.ranking import rank
from experiments.engine.errors import UserError
from experiments.studies.variance.claims import estimate
from experiments.studies.variance.problems import Problem
from experiments.studies.variance.report import Cell, Report
from experiments.studies.variance.specs import estimator
from experiments.studies.variance.vae import train

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


def prepare(report: Report) -> None:
    """Train the runs that its cells need and that nobody has trained yet."""
    steps: dict[str, set[int]] = {}
    for cell in report.cells:
        if cell.kind == "vae":
            steps.setdefault(cell.arguments["run"], set()).add(cell.arguments["step"])
    for run, kept in steps.items():
        name = Path(run).name
        if name in report.training and not (Path(run) / f"checkpoint-{max(kept)}.pt").exists():
            train(Path(run), sorted(kept), report.training[name])


def measure(report: Report, out: Path, progress: bool, **settings: Any) -> Found:
    """Compare in every cell, or take up what its file has.

    Args:
        report: what.
        out: folder of the report; the comparisons go to its folder `cells`.
        progress: whether to say where it is.
        settings: of `analysis.compare`.
    """
    found = Found()
    for number, cell in enumerate(report.cells, 1):
        if progress:
            print(f"{number}/{len(report.cells)} {cell.label}", flush=True)
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
        _add(found, comparison, cell, problem)
    return found


def _add(found: Found, comparison: analysis.Comparison, cell: Cell, problem: Problem) -> None:
    own = {"cell": cell.label, "kind": cell.kind, **{key: v for key, v in cell.arguments.items() if key != "run"}}
    own |= problem.facts
    wanted = cell.estimators  # a file may hold more, of an earlier configuration
    rows = [
        {**own, "family": wanted[row["name"]], **_rounded(row)} for row in comparison.rows() if row["name"] in wanted
    ]
    for row in comparison.layer_rows():
        if row["name"] in wanted:
            found.layers.append({**own, "family": wanted[row["name"]], **row})
    found.rows += rows
    for criterion in ("variance", "variance_evaluations", "variance_time", "mse"):
        numbers = {
            row["name"]: estimate(row, criterion)
            for row in rows
            if row["failure"] is None and row[criterion] is not None and (row["unbiased"] or criterion == "mse")
        }
        if numbers:
            leaders = rank(criterion, numbers, comparison.confidence).leaders
            found.leaders.append({"cell": cell.label, "criterion": criterion, "leaders": leaders})
    found.truths[cell.label] = comparison.truth_name


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Zero where there is nothing but rounding."""
    if row["failure"] is not None:
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
