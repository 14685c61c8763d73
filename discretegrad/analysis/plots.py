"""Figures of a comparison's rows: `variance_against_evaluations(comparison.rows())` and the like.

Every function takes rows as `Comparison.rows()` or `layer_rows()` give them, perhaps of several comparisons with
columns of your own, and returns a `matplotlib.figure.Figure`, for `savefig`, drawn at its size in print: a column
(3.3 in) or a page (6.8 in) wide, with letters of 8 points. Bars are of two standard errors. Series differ in lightness,
marker and dashes, so that they can be told apart in grey and by the colour-blind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from discretegrad.analysis import drawing
from discretegrad.analysis.drawing import BARS, FONT, Row, Style

COLUMN, PAGE = 3.3, 6.8
"""Widths in inches."""


def variance_against_evaluations(rows: Sequence[Row], width: float = PAGE, panels: str = "cell") -> Figure:
    """The variance of one estimate against the evaluations of f that it takes.

    Estimators of one class, or of one value of a column `family`, are joined by a line. The dotted line is where
    averages of the first one's cheapest are.

    Args:
        rows: of `Comparison.rows()`; those that failed are left out.
        width: in inches.
        panels: the column that has a panel for each of its values; a single one if the rows have no such column.

    Example:
        >>> import torch, discretegrad as dg
        >>> from discretegrad import analysis
        >>> from discretegrad.analysis import plots
        >>> f = lambda points: points[..., 0].sum(-1).square()
        >>> found = analysis.compare(f, torch.zeros(4, 3), [dg.RLOO(2), dg.RLOO(4)], precision=0.2, rounds=0)
        >>> plots.variance_against_evaluations(found.rows()).axes[0].get_ylabel()
        'variance'
    """
    return against(rows, "evaluations", "variance", width=width, panels=panels, by="family", guide=True)


def ranking_by_entropy(
    rows: Sequence[Row],
    baseline: str,
    x: str = "entropy",
    criterion: str = "variance",
    width: float = PAGE,
    panels: str = "panel",
) -> Figure:
    """Each estimator's number over the baseline's in the same cell, against the entropy of the posterior.

    Args:
        rows: with the columns `cell` and, for instance, `entropy` (of a variable, over its maximum).
        baseline: a name.
        x: the column of the abscissa.
        criterion: the column of the ordinate.
        width: in inches.
        panels: as in `variance_against_evaluations`.
    """
    return against(relative(rows, baseline, criterion), x, criterion, width=width, panels=panels, over=baseline)


def against(
    rows: Sequence[Row],
    x: str,
    y: str = "variance",
    *,
    width: float = PAGE,
    panels: str = "cell",
    by: str = "name",
    guide: bool = False,
    over: str | None = None,
    label: str | None = None,
) -> Figure:
    """One column against another, a line for each estimator: the general form.

    Args:
        rows: with numbers in the columns x, y and `{y}_se`; others are left out.
        x, y: columns. Both axes are logarithmic, but that of an entropy; a y of zero is left out.
        width: in inches.
        panels: as in `variance_against_evaluations`.
        by: the column whose values are joined by lines, "name", or "family", the class.
        guide: whether to draw the slope of averaging.
        over: whom the ordinate is relative to, for its label.
        label: of the abscissa.
    """
    with drawing.context():
        rows = [_with_family(row) for row in _drawable(rows, x, y) if row[y] > 0]
        styles = drawing.styles(row[by] for row in rows)
        figure, shown = drawing.panels(rows, panels, width, legend=len(styles) // 4)
        for _, of_panel, axis in shown:
            for name, style in styles.items():
                points = sorted((row[x], row[y], row[f"{y}_se"]) for row in of_panel if row[by] == name)
                if points:
                    drawing.curve(axis, points, style, name)
            if guide:
                _averaging(axis, [(row[x], row[y]) for row in of_panel if row[by] == next(iter(styles))], of_panel, x)
            if over is not None:
                axis.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
            drawing.scale(axis, x, [row[x] for row in of_panel], "x", named=True)
            drawing.scale(axis, y, [row[y] for row in of_panel], "y")
        suffix = "" if over is None else f" / that of {over}"
        return drawing.finished(figure, shown, label or drawing.words(x), drawing.words(y) + suffix)


def variance_time(
    rows: Sequence[Row],
    criterion: str = "variance_time",
    baseline: str | None = None,
    width: float = PAGE,
    panels: str = "cell",
    by: str = "name",
) -> Figure:
    """Variance times seconds, or another criterion, of every estimator, the best on top: less is better.

    Args:
        rows: of `Comparison.rows()`; biased ones get open markers, since their bias does not average out.
        criterion: "variance_time", "variance_evaluations", "mse" or another positive column.
        baseline: a name; numbers are over its own in the same cell then.
        width: in inches.
        panels: as in `variance_against_evaluations`.
        by: the column that names a line; no value of it may be there twice in a panel.
    """
    rows = rows if baseline is None else relative(rows, baseline, criterion)
    with drawing.context():
        rows = [row for row in _drawable(rows, criterion, criterion) if row[criterion] > 0]
        totals: dict[str, list[float]] = {}
        for _, of_panel in drawing.grouped(rows, panels):
            middle = sum(math.log(row[criterion]) for row in of_panel) / max(1, len(of_panel))
            for row in of_panel:
                totals.setdefault(row[by], []).append(math.log(row[criterion]) - middle)
        names = sorted(totals, key=lambda name: -sum(totals[name]) / len(totals[name]))
        figure, shown = drawing.panels(rows, panels, width, 0.45 + 0.165 * len(names))
        across = drawing.columns(len(shown), width)
        for number, (_, of_panel, axis) in enumerate(shown):
            for row in of_panel:
                style: Style = {"color": "0.15", "marker": "o", "linestyle": "", "markersize": 4}
                if not row["unbiased"]:
                    style["markerfacecolor"] = "white"
                arms = drawing.within(row[criterion], BARS * row[f"{criterion}_se"])
                axis.errorbar(row[criterion], names.index(row[by]), xerr=arms, capsize=1.5, **style)
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(-0.6, len(names) - 0.4)
            axis.tick_params(axis="y", labelleft=number % across == 0, length=0)
            axis.grid(axis="y", color="0.9", linewidth=0.6)
            if baseline is not None:
                axis.axvline(1.0, color="0.6", linewidth=0.8, zorder=0)
            drawing.scale(axis, criterion, [row[criterion] for row in of_panel], "x")
        note = "" if baseline is None else f" / that of {baseline}"
        note += "" if all(row["unbiased"] for row in rows) else " (open: biased)"
        return drawing.finished(figure, shown, drawing.words(criterion) + note, None, legend=False)


def bias_variance(rows: Sequence[Row], width: float = PAGE, panels: str = "cell") -> Figure:
    """The plane of squared bias and variance, of one estimate; grey lines are of equal mean squared error.

    Biases below two standard errors of theirs are arrows from that bound, those of unbiased estimators are left out and
    their variances drawn as ticks at the left edge.

    Args:
        rows: of `Comparison.rows()`, of which some are biased.
        width: in inches.
        panels: as in `variance_against_evaluations`.
    """
    with drawing.context():
        rows = [_with_family(row) for row in _drawable(rows, "bias2", "variance") if row["variance"] > 0]
        styles = drawing.styles(row["family"] for row in rows)
        figure, shown = drawing.panels(rows, panels, width, 2.3, legend=len(styles) // 4)
        for _, of_panel, axis in shown:
            bound = {id(row): max(row["bias2"], BARS * row["bias2_se"], 1e-30) for row in of_panel}
            left = min((bound[id(row)] for row in of_panel if not _free(row)), default=1.0) / 5
            for name, style in styles.items():
                own = [row for row in of_panel if row["family"] == name]
                biased = [row for row in own if not _free(row)]
                free = [row for row in own if _free(row)]
                for row in biased:
                    drawing.cross(axis, row, bound[id(row)], style)
                if biased:
                    axis.plot([bound[id(r)] for r in biased], [r["variance"] for r in biased], label=name, **style)
                if free:
                    lone = {**style, "linestyle": "", "clip_on": False, "label": None if biased else name}
                    axis.plot([left] * len(free), [row["variance"] for row in free], **lone)
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xlim(left=left)
            drawing.equal_errors(axis)
            drawing.few_ticks(axis.xaxis)
            drawing.few_ticks(axis.yaxis)
        return drawing.finished(figure, shown, "squared bias (left: unbiased)", "variance")


def layers(rows: Sequence[Row], baseline: str, width: float = PAGE, panels: str = "cell") -> Figure:
    """Heat map of each layer's variance over the baseline's, with the standard errors of the ratios.

    Args:
        rows: of `Comparison.layer_rows()`.
        baseline: a name.
        width: in inches.
        panels: as in `variance_against_evaluations`, one above the other.
    """
    rows = [row for row in relative(rows, baseline, "variance", ("layer",)) if row["variance"] > 0]
    names = list(dict.fromkeys(row["name"] for row in rows if row["name"] != baseline))
    where = list(dict.fromkeys(row["layer"] for row in rows))
    groups = drawing.grouped(rows, panels)
    with drawing.context():
        figure = Figure(figsize=(width, len(groups) * (0.3 + 0.36 * len(names)) + 0.55), layout="constrained")
        axes = figure.subplots(len(groups), 1, squeeze=False, sharex=True)[:, 0]
        limit = max((abs(math.log10(row["variance"])) for row in rows), default=0.0) or 1.0
        for (title, of_panel), axis in zip(groups, axes, strict=True):
            image = _heat(axis, of_panel, names, where, limit)
            axis.set_title(title)
            axis.set_xticks(range(len(where)), where)
            axis.set_yticks(range(len(names)), names)
            axis.tick_params(length=0)
        bar = figure.colorbar(image, ax=list(axes), pad=0.02)
        bar.set_label(f"log10 of variance / that of {baseline}")
    return figure


def relative(rows: Sequence[Row], baseline: str, criterion: str, within: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows with a criterion over the baseline's in the same cell, and the standard error of the ratio.

    Args:
        rows: those without the number, or in cells without the baseline, are left out.
        baseline: a name; its own ratio is 1, without an error.
        criterion: a column.
        within: further columns that must agree.
    """

    def place(row: Row) -> tuple[Any, ...]:
        return tuple(row.get(column) for column in ("cell", *within))

    bases = {place(row): row for row in rows if row["name"] == baseline and row.get(criterion)}
    found = []
    for row in rows:
        base = bases.get(place(row))
        if base is None or not row.get(criterion):
            continue
        ratio = row[criterion] / base[criterion]
        errors = [one[f"{criterion}_se"] / one[criterion] for one in (row, base)]
        error = 0.0 if row["name"] == baseline else abs(ratio) * math.hypot(*errors)
        found.append({**row, criterion: ratio, f"{criterion}_se": error})
    return found


def _heat(axis: Axes, rows: Sequence[Row], names: Sequence[str], where: Sequence[str], limit: float) -> Any:
    values = np.full((len(names), len(where)), np.nan)
    for row in rows:
        if row["name"] in names:
            values[names.index(row["name"]), where.index(row["layer"])] = math.log10(row["variance"])
    image = axis.imshow(values, cmap="cividis", vmin=-limit, vmax=limit, aspect="auto")
    for row in rows:
        if row["name"] in names:
            place = where.index(row["layer"]), names.index(row["name"])
            colour = "white" if values[place[::-1]] < -0.25 * limit else "black"
            text = f"{row['variance']:.2g}\n± {row['variance_se']:.1g}"
            axis.text(*place, text, ha="center", va="center", color=colour, fontsize=FONT, linespacing=1.0)
    return image


def _free(row: Row) -> bool:
    """Of a bias: by nature, or because it was found to be exactly zero."""
    return bool(row["unbiased"] or row["bias2"] == row["bias2_se"] == 0)


def _averaging(axis: Axes, first: Sequence[tuple[float, float]], rows: Sequence[Row], x: str) -> None:
    """Where averages of an estimator are: one over the number of evaluations."""
    if first:
        count, value = min(first)
        ends = np.array([min(row[x] for row in rows), max(row[x] for row in rows)], dtype=float)
        axis.plot(ends, value * count / ends, color="0.6", linewidth=0.8, linestyle=":", zorder=0)


def _drawable(rows: Sequence[Row], x: str, y: str) -> list[Row]:
    numbers = (x, y, f"{y}_se")
    return [
        row
        for row in rows
        if all(isinstance(row.get(column), int | float) and math.isfinite(row[column]) for column in numbers)
    ]


def _with_family(row: Row) -> dict[str, Any]:
    """The class of an estimator, as far as its name shows it."""
    return {"family": str(row["name"]).split("(")[0].strip(), **row}
