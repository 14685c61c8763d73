"""What the figures have in common: panels, styles that survive grey, error bars, axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

BARS = 2.0
"""Standard errors that an error bar is long, to each side."""
FONT = 8.0
"""Points."""
MARKERS = "osD^vP<>Xhpd*8"
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (4, 1, 1, 1, 1, 1)), (0, (1, 1)))
WORDS = {
    "evaluations": "evaluations of f",
    "variables": "variables V",
    "categories": "categories C",
    "entropy": "entropy of the posterior / log C",
    "variance_time": "variance x seconds",
    "variance_evaluations": "variance x evaluations",
    "bias2": "squared bias",
    "mse": "mean squared error",
}

Row = Mapping[str, Any]
Style = dict[str, Any]


def context() -> Any:
    """Of matplotlib's settings, for whoever draws."""
    return mpl.rc_context(
        {
            "font.size": FONT,
            "axes.titlesize": FONT,
            "axes.labelsize": FONT,
            "xtick.labelsize": FONT,
            "ytick.labelsize": FONT,
            "legend.fontsize": FONT,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.0,
            "lines.markersize": 4.0,
        }
    )


def words(column: str) -> str:
    """A column's name for an axis."""
    return WORDS.get(column, column.replace("_", " "))


def styles(names: Iterable[str]) -> dict[str, Style]:
    """One for each name, in order of appearance: colours by lightness, markers and dashes all different."""
    listed = list(dict.fromkeys(names))
    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.76, max(2, len(listed))))
    return {
        name: {
            "color": tuple(shades[i]),
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": DASHES[i % len(DASHES)],
            # Every second one is open, so that neighbours in lightness are unlike in shape and in filling.
            "markerfacecolor": "white" if i % 2 else tuple(shades[i]),
        }
        for i, name in enumerate(listed)
    }


def grouped(rows: Sequence[Row], column: str) -> list[tuple[str, list[Row]]]:
    """Rows by the values of a column; all together under no title where there is no such column."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row.get(column, "")), []).append(row)
    return list(groups.items()) or [("", [])]


def columns(count: int, width: float) -> int:
    """How many panels stand side by side."""
    most = max(1, int(width / 2.1))
    return min(count, 2 if count == 4 else most)


def panels(
    rows: Sequence[Row], column: str, width: float, height: float = 1.9, legend: int = 0
) -> tuple[Figure, list[tuple[str, list[Row], Axes]]]:
    """A figure, and a panel for every value of a column: its title, its rows, its axes."""
    groups = grouped(rows, column)
    across = columns(len(groups), width)
    down = math.ceil(len(groups) / across)
    figure = Figure(figsize=(width, down * height + 0.25 + 0.15 * legend), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    for (title, _), axis in zip(groups, axes, strict=False):
        axis.set_title(title if column in ("cell", "panel") else f"{column} {title}".rstrip())
    return figure, [(title, of_panel, axis) for (title, of_panel), axis in zip(groups, axes, strict=False)]


def within(value: float, error: float) -> list[list[float]]:
    """Both arms of an error bar; the lower one stays above zero, which a logarithmic axis does not have."""
    return [[min(error, 0.95 * value) if value > 0 else error], [error]]


def curve(axis: Axes, points: Sequence[tuple[float, float, float]], style: Style, name: str) -> None:
    """A line through points `(x, y, standard error)` with error bars."""
    x, y, errors = ([point[i] for point in points] for i in range(3))
    arms = [within(one, BARS * error) for one, error in zip(y, errors, strict=True)]
    bars = [[arm[side][0] for arm in arms] for side in (0, 1)]
    axis.errorbar(x, y, yerr=bars, label=name, elinewidth=0.9, capsize=1.5, **style)


def scale(axis: Axes, column: str, values: Sequence[float], which: str, named: bool = False) -> None:
    """A logarithmic axis for positive numbers, with few ticks that can be read; if `named`, the numbers themselves."""
    along = axis.xaxis if which == "x" else axis.yaxis
    positive = [value for value in values if value > 0]
    if not positive or min(values) <= 0 or column in ("entropy", "part"):
        along.set_major_locator(MaxNLocator(4))
        return
    (axis.set_xscale if which == "x" else axis.set_yscale)("log")
    if named:
        low, high = min(positive), max(positive)
        whole = [value for value in positive if value == int(value)] or positive  # the mean of a random count is none
        shown = _apart(sorted(set(whole)), 0.11 * math.log(max(high / low, 1.5)))
        along.set_ticks(shown, [f"{value:.3g}" for value in shown])
        along.set_minor_locator(NullLocator())
        room = 1.03 * (high / low) ** 0.07
        along.axes.set_xlim(low / room, high * room)
        return
    few_ticks(along)


def few_ticks(along: Any) -> None:
    """Of a logarithmic axis with its final limits: as many round numbers as there is room for."""
    low, high = sorted(along.get_view_interval())
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    along.set_minor_formatter(NullFormatter())
    if high / low < 3:
        near = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
        shown = [float(f"{tick:.6g}") for tick in near if low <= tick <= high]
        along.set_ticks(shown, [_written(tick) for tick in shown])
        along.set_minor_locator(NullLocator())
        return
    for factors in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in decades for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 5:
            break
    else:
        ticks = ticks[:: math.ceil(len(ticks) / 5)]
    along.set_ticks(ticks, [_written(tick) for tick in ticks])


def finished(
    figure: Figure, shown: Sequence[tuple[str, list[Row], Axes]], x: str, y: str | None, legend: bool = True
) -> Figure:
    """Labels at the outer panels, and one legend below them all."""
    handles: dict[str, Any] = {}
    for _, _, axis in shown:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    across = columns(len(shown), figure.get_figwidth())
    for number, (_, _, axis) in enumerate(shown):
        if legend and number >= len(shown) - across:  # nothing below it
            axis.set_xlabel(x)
        if y is not None and number % across == 0:
            axis.set_ylabel(y)
    if not legend:
        figure.supxlabel(x, fontsize=FONT)  # would meet the legend
    elif handles:
        longest = max(len(name) for name in handles)
        across = max(1, min(len(handles), int(figure.get_figwidth() / (0.45 + 0.065 * longest))))
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=across,
            frameon=False,
            handlelength=2.6,
            columnspacing=1.0,
        )
    return figure


def cross(axis: Axes, row: Row, x: float, style: Style) -> None:
    """Error bars both ways; an arrow to the left where the bias is below its noise."""
    plain: Style = {"color": style["color"], "linestyle": "", "elinewidth": 0.9, "capsize": 1.5}
    axis.errorbar(x, row["variance"], yerr=within(row["variance"], BARS * row["variance_se"]), **plain)
    if row["bias2"] < BARS * row["bias2_se"]:
        axis.annotate("", (0.45 * x, row["variance"]), (x, row["variance"]), arrowprops=_arrow(style))
    else:
        axis.errorbar(x, row["variance"], xerr=within(x, BARS * row["bias2_se"]), **plain)


def _arrow(style: Style) -> Style:
    return {"arrowstyle": "->", "color": style["color"], "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}


def equal_errors(axis: Axes) -> None:
    """Lines of equal squared bias + variance, a decade apart."""
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    x = np.geomspace(left, right, 200)
    first, last = math.floor(math.log10(left + low)), math.ceil(math.log10(right + high))
    for power in range(first, last + 1):
        y = 10.0**power - x
        axis.plot(x[y > low], y[y > low], color="0.82", linewidth=0.7, zorder=0)
    axis.set_xlim(left, right)
    axis.set_ylim(low, high)


def _apart(values: Sequence[float], least: float) -> list[float]:
    """Those whose logarithms are far enough from the last one's for labels not to touch."""
    kept: list[float] = []
    for value in values:
        if not kept or math.log(value / kept[-1]) >= least:
            kept.append(value)
    return kept


def _written(value: float) -> str:
    if 0.01 <= value < 1000:
        return f"{value:g}"
    power = math.floor(math.log10(value) + 1e-9)
    factor = value / 10**power
    return f"$10^{{{power}}}$" if abs(factor - 1) < 1e-6 else f"${factor:.2g}{{\\cdot}}10^{{{power}}}$"
