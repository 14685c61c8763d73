"""The files of a report: Markdown with figures beside it, the same as one HTML file, tables as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import UserError
from experiments.studies import page
from experiments.studies.variance.claims import Crossover, Line, Verdict
from experiments.studies.variance.measuring import Found
from experiments.studies.variance.report import Report, listed

if TYPE_CHECKING:  # loaded when something is drawn
    from matplotlib.figure import Figure

PLOTS = ("variance_against_evaluations", "variance_time", "bias_variance", "layers", "ranking_by_entropy", "against")
TEMPLATE = Path(__file__).parent / "page.md.j2"


def figures(report: Report, found: Found) -> dict[str, Figure]:
    """Drawn, by the name of their file; without those of which nothing is measured yet."""
    from discretegrad.analysis import plots

    drawn = {}
    for spec in report.figures:
        options = {key: value for key, value in spec.items() if key not in ("file", "plot", "caption", "where")}
        rows = found.layers if spec["plot"] == "layers" else found.rows
        where = spec.get("where", {})
        chosen = [row for row in rows if all(row.get(key) in listed(value) for key, value in where.items())]
        if chosen:
            drawn[spec["file"]] = getattr(plots, spec["plot"])(chosen, **options)
        elif not found.unfinished:
            raise UserError(f"figure {spec['file']}: no row has {where}.")
    return drawn


def check_figures(report: Report) -> None:
    """Refuse figures that cannot be drawn, before anything is measured."""
    for spec in report.figures:
        if not {"file", "plot", "caption"} <= spec.keys():
            raise UserError(f"a figure needs file, plot and caption, and {spec} has not.")
        if spec["plot"] not in PLOTS:
            raise UserError(f"a figure's plot is one of {', '.join(PLOTS)}, not {spec['plot']!r}.")


def write(
    report: Report,
    found: Found,
    verdicts: Sequence[Verdict],
    crossovers: Sequence[Crossover],
    config: str,
    command: str,
    confidence: float,
    out: Path,
) -> Path:
    """All files, each whole; the HTML's path."""
    drawn = figures(report, found)
    tables: dict[str, tuple[Sequence[str], page.Rows]] = {
        "rows": (page.columns(found.rows), found.rows),
        "claims": (_names(Line), [asdict(line) for verdict in verdicts for line in verdict.lines]),
    }
    if len({row["layer"] for row in found.layers}) > 1:
        tables["layers"] = (page.columns(found.layers), found.layers)
    if crossovers:
        tables["crossovers"] = (_names(Crossover), [asdict(one) for one in crossovers])
    page.put(out / "config.yaml", config)
    text = page.render(
        TEMPLATE,
        report=report,
        figures=[figure for figure in report.figures if figure["file"] in drawn],
        found=found,
        verdicts=verdicts,
        crossovers=crossovers,
        confidence=confidence,
        config=config.strip(),
        command=command,
        versions=page.versions(),
        tables=sorted(tables),
        cells={label: [row for row in found.rows if row["cell"] == label] for label in found.truths},
    )
    page.write(out / "report", text, tables, drawn)
    return page.write_html(out / "report.html", report.title, text)


def _names(of: Any) -> list[str]:
    return [field.name for field in fields(of)]
