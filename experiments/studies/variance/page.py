"""The files of a report: Markdown with figures beside it, the same as one HTML file, tables as CSV."""

from __future__ import annotations

import base64
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import markdown
import numpy
import torch
from matplotlib.figure import Figure

import discretegrad as dg
from discretegrad.analysis import plots
from experiments.engine.errors import UserError
from experiments.engine.files import write_table, write_whole
from experiments.studies.variance.claims import Crossover, Line, Verdict
from experiments.studies.variance.measuring import Found
from experiments.studies.variance.report import Report

PLOTS = ("variance_against_evaluations", "variance_time", "bias_variance", "layers", "ranking_by_entropy", "against")
HERE = Path(__file__).parent
DPI = 200


def figures(report: Report, found: Found) -> dict[str, Figure]:
    """Drawn, by the name of their file."""
    drawn = {}
    for spec in report.figures:
        options = {key: value for key, value in spec.items() if key not in ("file", "plot", "caption", "where")}
        rows = found.layers if spec["plot"] == "layers" else found.rows
        where = spec.get("where", {})
        chosen = [row for row in rows if all(row.get(key) in _listed(value) for key, value in where.items())]
        if not chosen:
            raise UserError(f"figure {spec['file']}: no row has {where}.")
        drawn[spec["file"]] = getattr(plots, spec["plot"])(chosen, **options)
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
    for name, figure in drawn.items():
        write_whole(out / f"{name}.png", partial(figure.savefig, format="png", dpi=DPI))
    tables = {
        "rows": (_columns(found.rows), found.rows),
        "claims": (tuple(f.name for f in fields(Line)), [asdict(line) for v in verdicts for line in v.lines]),
    }
    if len({row["layer"] for row in found.layers}) > 1:
        tables["layers"] = (_columns(found.layers), found.layers)
    if crossovers:
        tables["crossovers"] = (tuple(f.name for f in fields(Crossover)), [asdict(one) for one in crossovers])
    for name, (columns, rows) in tables.items():
        write_table(out / f"{name}.csv", columns, rows)
    write_whole(out / "config.yaml", lambda file: file.write(config.encode()))
    page = environment().get_template("page.md.j2")
    text = page.render(
        report=report,
        found=found,
        verdicts=verdicts,
        crossovers=crossovers,
        confidence=confidence,
        config=config.strip(),
        command=command,
        versions=versions(),
        tables=sorted(tables),
        cells=[(cell.label, [row for row in found.rows if row["cell"] == cell.label]) for cell in report.cells],
    )
    write_whole(out / "report.md", lambda file: file.write(text.encode()))
    whole = html(report.title, text, {f"{name}.png": (out / f"{name}.png").read_bytes() for name in drawn})
    write_whole(out / "report.html", lambda file: file.write(whole.encode()))
    return out / "report.html"


def html(title: str, text: str, pictures: Mapping[str, bytes]) -> str:
    """One file: Markdown as HTML, its pictures within."""
    for name, content in pictures.items():
        text = text.replace(f"]({name})", f"](data:image/png;base64,{base64.b64encode(content).decode()})")
    body = markdown.markdown(text, extensions=["tables", "fenced_code"])
    return environment().get_template("page.html.j2").render(title=title, body=body)


def environment() -> jinja2.Environment:
    """Of the templates, with the filters that write numbers."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    made.filters |= {"number": number, "code": code}
    return made


def number(value: float | None, error: float | None = None) -> str:
    """Three digits, and the standard error if there is one."""
    if value is None or value != value:
        return "-"
    text = "∞" if value == float("inf") else f"{value:.3g}"
    return text if error is None or error != error or error == 0 else f"{text} ± {error:.1g}"


def code(text: object) -> str:
    """In a table: a bar would end the cell."""
    return f"`{text}`".replace("|", "\\|")


def versions() -> dict[str, str]:
    """What the numbers depend on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    found = {
        "discretegrad": dg.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "machine": device,
        "threads": str(torch.get_num_threads()),
    }
    return {name: value for name, value in found.items() if value}


def _commit() -> str:
    """Of the checkout, if this is one; a plus where something differs from it."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
