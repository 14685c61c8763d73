"""Theirs and ours as tables and a figure, in docs/findings.md, of whatever rows there are."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.errors import UserError
from experiments.studies import page as pages
from experiments.studies.beyond_reinmax.runs import (
    AS_IT_IS,
    AT_FOUR,
    BIASED,
    GRID,
    NAMES,
    OURS,
    SIZES,
    THEIRS,
    chosen,
    kind_of,
    size_of,
)
from experiments.studies.beyond_reinmax.times import TIMES
from experiments.studies.trials import read

Lines = Sequence[Mapping[str, str]]
FIGURE = "beyond-reinmax.png"
SHOWN = (2, 5, 10, 40, 160)
"""Epochs that have a column."""
BLOCK = re.compile(r"(<!-- beyond_reinmax -->\n).*(<!-- end beyond_reinmax -->)", re.DOTALL)


class Curve(NamedTuple):
    """A method at one size."""

    means: dict[int, float]
    """By epoch: the negative ELBO of the training images, in nats."""
    errors: dict[int, float]
    """Standard errors; none where there is one seed."""
    seeds: int
    settings: str
    time: float | None
    """Of a step, over that of ReinMax."""

    def at(self, epoch: float) -> float:
        """The mean at a time between epochs, or at the last epoch that there is: straight between logarithms."""
        before = max(e for e in self.means if e <= max(epoch, min(self.means)))
        after = min((e for e in self.means if e >= epoch), default=before)
        if after <= before:
            return self.means[before]
        share = math.log(epoch / before) / math.log(after / before)
        return (1 - share) * self.means[before] + share * self.means[after]


def theirs(method: str, size: str, times: Lines) -> Curve | None:
    """The authors' own runs, with the time of our implementation."""
    lines = [line for line in read(THEIRS) if line["method"] == NAMES[method] and size_of(line) == size]
    if not lines:
        return None
    count = int(lines[0]["seeds"])
    return Curve(
        {int(line["epoch"]): float(line["train"]) for line in lines},
        {int(line["epoch"]): float(line["train_sd"]) / count**0.5 for line in lines},
        count,
        f"{lines[0]['optimizer']} {float(lines[0]['lr']):g}",
        _time(method, size, times),
    )


def ours(method: str, size: str, lines: Lines, times: Lines) -> Curve | None:
    """Our runs: with the grid's best where there are such, else with what theirs chose."""
    of_method = [line for line in lines if line["method"] == method and size_of(line) == size]
    for part in ("chosen", "first"):
        found = [line for line in of_method if line["part"] == part]
        if found:
            break
    else:
        return None
    by_seed: dict[str, dict[int, float]] = {}
    for line in found:
        by_seed.setdefault(line["seed"], {})[int(line["epoch"])] = float(line["train"])
    epochs = set.intersection(*(set(each) for each in by_seed.values()))
    values = {epoch: [each[epoch] for each in by_seed.values()] for epoch in sorted(epochs)}
    count = len(by_seed)
    return Curve(
        {epoch: statistics.fmean(each) for epoch, each in values.items()},
        {epoch: statistics.stdev(each) / count**0.5 for epoch, each in values.items()} if count > 1 else {},
        count,
        f"{found[0]['optimizer']} {float(found[0]['lr']):g}",
        _time(method, size, times),
    )


def section(lines: Lines, times: Lines) -> str:
    """What is between the marks: tables of all sizes, and the grid."""
    parts = []
    for size in SIZES:
        mine = {method: ours(method, size, lines, times) for method in dict.fromkeys(AS_IT_IS + AT_FOUR)}
        if not any(mine[method] for method in AS_IT_IS):
            parts += [f"### {size}", "", "Not run yet.", ""]
            continue
        categories, variables = size.split("x")
        parts += [f"### {variables} variables of {categories} categories", ""]
        of_theirs = {method: theirs(method, size, times) for method in BIASED}
        one = {name_of(method): curve for method, curve in of_theirs.items() if curve}
        parts += table("Their setting as it is", one, {name_of(method): mine[method] for method in AS_IT_IS})
        if any(mine[method] for method in AT_FOUR):
            parts += table("All at 4 evaluations, by our implementations", {}, {name_of(m): mine[m] for m in AT_FOUR})
    return "\n".join([*parts, *appendix(lines), f"![Negative ELBO by steps and by time](figures/{FIGURE})", ""])


def table(title: str, published: Mapping[str, Curve], own: Mapping[str, Curve | None]) -> list[str]:
    """One table, at some epochs up to the last that any of ours has; in order of the last that all of them have.

    What stands under the same name on both sides is there to show that theirs comes out, and is not judged.
    """
    run = {name: curve for name, curve in own.items() if curve is not None}
    judged = {name: curve for name, curve in run.items() if name not in published} or run
    last = max(max(curve.means) for curve in judged.values())
    epochs = [epoch for epoch in SHOWN if epoch <= last] or [1]
    common = max((epoch for epoch in epochs if all(epoch in curve.means for curve in judged.values())), default=1)
    heads = ["", "settings", "seeds", *(f"epoch {epoch}" for epoch in epochs), "time of a step", f"{common} by time"]
    lines = [f"**{title}**", "", f"| {' | '.join(heads)} |", "| --- | --- |" + " ---: |" * (len(heads) - 2)]
    for group, whose in ((published, "theirs"), (run, "ours")):
        for name, curve in sorted(group.items(), key=lambda item: item[1].means.get(common, math.inf)):
            cells = [f"{name} ({whose})", curve.settings, str(curve.seeds), *(shown(curve, e) for e in epochs)]
            lines.append(f"| {' | '.join(cells + timed(curve, common))} |")
    lines += [f"| {name} (ours) |{' missing |' * (len(heads) - 1)}" for name, curve in own.items() if curve is None]
    if published:
        lines += ["", verdict(published, judged, common)]
    return [*lines, ""]


def timed(curve: Curve, epoch: int) -> list[str]:
    """The time of a step, and the mean when ReinMax ends the epoch; with a star where no epoch was left by then."""
    if curve.time is None:
        return ["missing", "missing"]
    then = epoch / curve.time
    return [f"{curve.time:.2f}", f"{curve.at(then):.2f}" + ("\\*" if then > max(curve.means) else "")]


def verdict(published: Mapping[str, Curve], run: Mapping[str, Curve], epoch: int) -> str:
    """Wins and losses against theirs of the least mean, at this epoch and at the time of ReinMax's."""
    rival = min(published, key=lambda name: published[name].means[epoch])
    best, kinds = published[rival], ("lower", "higher", "open, by two standard errors")
    won: dict[str, list[str]] = {kind: [] for kind in kinds}
    for name, curve in run.items():
        difference = curve.means[epoch] - best.means[epoch]
        error = math.hypot(curve.errors.get(epoch, 0.0), best.errors[epoch])
        known = epoch in curve.errors
        kind = 2 if known and abs(difference) < 2 * error else int(difference > 0)
        won[kinds[kind]].append(f"{name} ({difference:+.2f}{f' ± {error:.2f}' if known else ', one seed'})")
    said = f"By steps, epoch {epoch}, against the best of theirs, {rival} ({shown(best, epoch)}): {_listed(won)}."
    then = {name: curve.at(epoch / curve.time) for name, curve in published.items() if curve.time is not None}
    if not then:
        return said
    rival, won = min(then, key=lambda name: then[name]), {kind: [] for kind in kinds[:2]}
    for name, curve in run.items():
        if curve.time is not None:
            difference = curve.at(epoch / curve.time) - then[rival]
            won[kinds[int(difference > 0)]].append(f"{name} ({difference:+.2f})")
    return f"{said} By time, against {rival} ({then[rival]:.2f}): {_listed(won)}."


def appendix(lines: Lines) -> list[str]:
    """The grid, as far as it has been run."""
    found = []
    for size in SIZES:
        grid = [line for line in lines if line["part"] == "grid" and line["test"] and size_of(line) == size]
        if not grid:
            found += [f"The grid of optimisers and learning rates has not been run yet for {size}.", ""]
            continue
        best = chosen(grid, size)
        cells = {(line["method"], line["optimizer"], float(line["lr"])): line for line in grid}
        found += [
            f"**The grid, {size}**: negative ELBO of the 5,000 held-out training images (after so many epochs)",
            "",
        ]
        found += ["| | " + " | ".join(f"{optimizer} {lr:g}" for optimizer, lr in GRID) + " |"]
        found += ["| --- |" + " ---: |" * len(GRID)]
        for method in dict.fromkeys(line["method"] for line in grid):
            row = [name_of(method)]
            for pair in GRID:
                line = cells.get((method, *pair))
                value = "missing" if line is None else f"{float(line['test']):.2f} ({line['epoch']})"
                row.append(f"**{value}**" if best[method] == pair else value)
            found.append(f"| {' | '.join(row)} |")
        found.append("")
    return found


def shown(curve: Curve, epoch: int) -> str:
    """A mean with its standard error."""
    if epoch not in curve.means:
        return "missing"
    error = curve.errors.get(epoch)
    return f"{curve.means[epoch]:.2f}" + ("" if error is None else f" ± {error:.2f}")


def name_of(method: str) -> str:
    """As in the tables: theirs by name, ours with the evaluations."""
    kind = kind_of(method)
    return NAMES[method] if kind == method else f"{NAMES[kind]}, {method[-1]} evaluations"


def draw(path: Path, lines: Lines, times: Lines) -> None:
    """Theirs dashed, ours solid; against steps, and against time in epochs of ReinMax."""
    from matplotlib.figure import Figure  # takes long

    from experiments.curves import put

    sizes = [size for size in SIZES if any(ours(method, size, lines, times) for method in AS_IT_IS)]
    figure = Figure(figsize=(11, 4.2 * len(sizes)), layout="constrained")
    axes = figure.subplots(len(sizes), 2, squeeze=False, sharey="row")
    for size, (steps, clock) in zip(sizes, axes, strict=True):
        curves = [(NAMES[method], theirs(method, size, times), "--") for method in BIASED]
        curves += [(name_of(method), ours(method, size, lines, times), "-") for method in AS_IT_IS]
        last = max(max(curve.means) for _, curve, style in curves if curve and style == "-")
        for index, (name, curve, style) in enumerate(curves):
            if curve is None:
                continue
            epochs = [epoch for epoch in curve.means if 2 <= epoch <= max(last, 2)]
            values = [curve.means[epoch] for epoch in epochs]
            look = {"linestyle": style, "color": f"C{index % 10}", "label": name, "marker": ".", "linewidth": 1.2}
            steps.plot([600 * epoch for epoch in epochs], values, **look)
            if curve.time is not None:
                clock.plot([curve.time * epoch for epoch in epochs], values, **look)
        steps.set(xlabel="step", ylabel="negative ELBO, nats per training image", title=f"{size}")
        clock.set(xlabel="time, in epochs of ReinMax", title=f"{size}")
        for axis in (steps, clock):
            axis.grid(alpha=0.3)
        steps.legend(fontsize=7, title="dashed: theirs; solid: ours", title_fontsize=7)
    put(path, figure)


def write(out: Path) -> None:
    """Bring the section of a folder's findings.md up to date, and the figure, from the rows beside it.

    Raises:
        UserError: where there are none.
    """
    lines, times = read(out / OURS), read(out / TIMES)
    if not lines:
        raise UserError(f"{out / OURS} has no rows yet; train first: `first` instead of `page`.")
    page = out / "findings.md"
    text = BLOCK.sub(lambda block: block[1] + section(lines, times) + block[2], page.read_text())
    (out / "figures").mkdir(exist_ok=True)
    draw(out / "figures" / FIGURE, lines, times)
    pages.put(page, text)


def _listed(kinds: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)


def _time(method: str, size: str, times: Lines) -> float | None:
    return next((float(line["time"]) for line in times if (line["method"], line["size"]) == (method, size)), None)
