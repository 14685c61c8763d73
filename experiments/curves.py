"""Pictures of what was recorded along a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.files import write_whole

Rows = Sequence[Mapping[str, Any]]


def put(path: Path, figure: Figure) -> Path:
    """Write a figure as PNG, whole; its path."""
    write_whole(path, partial(figure.savefig, format="png", dpi=120))
    return path


def learning_curve(path: Path, rows: Rows, units: Mapping[str, str], title: str) -> Path:
    """Draw every measured column, those of one unit in one panel."""
    names = [name for name in units if any(row[name] is not None for row in rows)]
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(units[name], []).append(name)
    figure, axes = _panels(max(1, len(panels)), title)
    for axis, (unit, columns) in zip(axes, panels.items(), strict=False):
        for name in columns:
            points = [(row["step"], row[name]) for row in rows if row[name] is not None]
            sparse: dict[str, Any] = (
                {"marker": "o", "markersize": 4} if len(points) < 0.5 * len(rows) or len(points) < 20 else {}
            )
            axis.plot(*zip(*points, strict=True), label=name.replace("_", " "), **sparse)
        limit(axis, [[row[name] for row in rows if row[name] is not None] for name in columns])
        axis.set_ylabel(unit)
        axis.legend(loc="best")
    return put(path, figure)


def watched(path: Path, rows: Rows, title: str) -> Path:
    """Draw what a monitor measured."""
    figure, (top, bottom) = _panels(2, title)
    top.plot([row["step"] for row in rows], [row["entropy"] for row in rows], marker=".", markersize=4)
    top.set_ylabel("posterior entropy,\nnats per variable")
    measured = [row for row in rows if row["variance"] is not None]
    steps, variances, errors = ([row[name] for row in measured] for name in ("step", "variance", "variance_se"))
    bottom.errorbar(steps, variances, errors, marker=".", markersize=4, linewidth=1, elinewidth=0.8)
    bottom.set_ylabel("variance of the\nlogits' gradient, total")
    if any(variances):
        bottom.set_yscale("log")
    return put(path, figure)


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7, 2 + 2 * count), layout="constrained")
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0].tolist()
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    figure.suptitle(title, fontsize=11)
    return figure, axes


def limit(axis: Axes, columns: Sequence[Sequence[float]]) -> None:
    """Leave out the first rows' distance from the rest, which would press it flat."""
    finite = [value for values in columns for value in values[len(values) // 20 :] if math.isfinite(value)]
    if finite and max(finite) > min(finite):
        margin = 0.05 * (max(finite) - min(finite))
        axis.set_ylim(min(finite) - margin, max(finite) + margin)
