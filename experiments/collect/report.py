"""The table and the figures, as HTML, Markdown and CSV."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.collect.groups import Group, Mean
from experiments.collect.runs import Run
from experiments.studies import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).parent / "report.md.j2"
MARKS = 12
"""Markers along a curve, at most."""


def write(groups: Sequence[Group], runs: Sequence[Run], title: str, command: str, out: Path) -> Path:
    """All files, each whole; the HTML's path."""
    out.mkdir(parents=True, exist_ok=True)
    systems = [_system(name, [group for group in groups if group.system == name]) for name in _systems(groups)]
    text = page.render(
        TEMPLATE,
        title=title,
        command=command,
        systems=systems,
        runs=[_row(run) for run in runs],
        singles=[group.label for group in groups if group.finished and len(group.runs) == 1],
        versions=page.versions(),
        written=written,
    )
    figures = {name: figure for system in systems for name, _, figure in system["figures"]}
    tables: dict[str, tuple[Sequence[str], page.Rows]] = {
        "groups": (("system", "group", "seeds", "measure", "unit", "mean", "error"), list(_finals(groups))),
        "curves": (
            ("system", "group", "seeds", "measure", "unit", "step", "seconds", "mean", "error"),
            list(_curves(groups)),
        ),
        "runs": (("folder", "system", "group", "seed", "state", "note"), [_row(run, groups) for run in runs]),
    }
    page.write(out / "report", text, tables, figures)
    return page.write_html(out / "report.html", title, text)


def written(value: Mean | None) -> str:
    """As many digits as the error has meaning for; without one, four.

    >>> written(Mean(-127.5934, 0.2412, 10)), written(Mean(0.123456, None, 1)), written(None)
    ('-127.59 ± 0.24', '0.1235', '-')
    """
    if value is None:
        return "-"
    if math.isnan(value.mean):
        return "not finite"
    if not value.error:
        return f"{value.mean:.4g}" + ("" if value.error is None else " ± 0")
    places = max(0, 1 - math.floor(math.log10(value.error)))
    return f"{value.mean:.{places}f} ± {value.error:.{places}f}"


def units(system: str) -> dict[str, str]:
    """Of the measures of a task; empty where its class cannot be had."""
    module, _, name = system.rpartition(".")
    try:
        return dict(getattr(importlib.import_module(module), name).measures)
    except Exception:  # an extra that is not installed, or a class of another version
        return {}


def _systems(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(group.system for group in groups))


def _system(name: str, groups: Sequence[Group]) -> dict[str, Any]:
    of = units(name)
    measures = list(dict.fromkeys(measure for group in groups for measure in group.measures))
    short = name.rpartition(".")[2]
    figures = []
    for measure in measures:
        drawn = [group for group in groups if group.curve(measure)]
        if drawn:
            figures.append((f"{short}-{measure}", measure, draw(measure, of.get(measure, ""), drawn)))
    shown = [measure for measure in (*measures, "seconds") if any(measure in group.finals for group in groups)]
    return {"name": short, "groups": groups, "measures": shown, "units": of | {"seconds": "s"}, "figures": figures}


def draw(measure: str, unit: str, groups: Sequence[Group]) -> Figure:
    """A measure along the steps, and along the seconds; bands of one standard error, unfinished groups dotted."""
    from matplotlib.figure import Figure

    from discretegrad.analysis import drawing
    from experiments.curves import limit  # takes matplotlib with it

    with drawing.context():
        styles = drawing.styles(group.label for group in groups)
        figure = Figure(figsize=(7.0, 2.9), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        shown: list[list[float]] = []
        for group in groups:
            points = group.curve(measure)
            y, errors = [point.value.mean for point in points], [point.value.error or 0.0 for point in points]
            shown.append(y)
            style = styles[group.label] | {"markevery": math.ceil(len(points) / MARKS)}
            if not group.finished:
                style["linestyle"] = ":"
            label = f"{group.label} ({_seeds(group)})"
            for axis, x in zip(axes, ([p.step for p in points], [p.seconds for p in points]), strict=True):
                axis.plot(x, y, label=label, **style)
                low, high = ([v + sign * e for v, e in zip(y, errors, strict=True)] for sign in (-1, 1))
                axis.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
        limit(axes[0], shown)
        axes[0].set_ylabel("\n".join(part for part in (measure.replace("_", " "), unit) if part))
        for axis, name in zip(axes, ("step", "seconds of training"), strict=True):
            axis.set_xlabel(name)
            axis.grid(alpha=0.25)
        handles, names = axes[0].get_legend_handles_labels()
        across = max(1, min(len(names), int(7.0 / (0.6 + 0.07 * max(map(len, names))))))
        figure.legend(handles, names, loc="outside lower center", ncols=across, frameon=False, handlelength=2.6)
    return figure


def _seeds(group: Group) -> str:
    count = len(group.runs)
    return f"{count} seed{'s' if count > 1 else ''}" + ("" if group.finished else ", unfinished")


def _row(run: Run, groups: Sequence[Group] = ()) -> dict[str, Any]:
    group = next((group.label for group in groups if run in group.runs), None)
    own = {"folder": str(run.folder), "seed": run.seed if run.system else None, "state": run.state, "note": run.note}
    return own | {"system": run.system.rpartition(".")[2], "group": group}


def _finals(groups: Sequence[Group]) -> list[dict[str, Any]]:
    rows = []
    for group in groups:
        of = units(group.system) | {"seconds": "s"}
        own = {"system": group.system, "group": group.label, "seeds": len(group.runs)}
        for name, found in group.finals.items():
            rows.append(own | {"measure": name, "unit": of.get(name), "mean": found.mean, "error": found.error})
    return rows


def _curves(groups: Sequence[Group]) -> list[dict[str, Any]]:
    rows = []
    for group in groups:
        of = units(group.system)
        own = {"system": group.system, "group": group.label}
        for measure in group.measures:
            for step, seconds, found in group.curve(measure):
                row = {"step": step, "seconds": round(seconds, 2), "mean": found.mean, "error": found.error}
                rows.append(own | row | {"measure": measure, "unit": of.get(measure), "seeds": found.seeds})
    return rows
