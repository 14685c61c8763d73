"""The page: bounds and judgements of all methods, and the bound over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.curves import put
from experiments.errors import UserError
from experiments.studies import page
from experiments.studies.gemini.runs import FIGURES, METHODS, ROWS
from experiments.studies.trials import Row, read
from experiments.systems.gemini.stages import PASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE = "figures/gemini_{data}_{steps}.png"
NATS = ("test_elbo", "test_bound", "test_rate")
SHARES = tuple(name for name in FIGURES if name.split("_")[0] in ("read", "drawn", "prompt", "judge"))
Group = tuple[str, str]
"""Data, and steps of a joint run."""


def write(out: Path) -> None:
    """Write the page of all rows that there are.

    Raises:
        UserError: where there are none.
    """
    rows = read(out / ROWS)
    if not rows:
        raise UserError(f"{out / ROWS} holds no rows yet; measure first, by the part runs.")
    groups: dict[Group, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["data"], row["steps"]].append(row)
    (out / "figures").mkdir(exist_ok=True)
    sections = []
    for (data, steps), own in groups.items():
        figure = FIGURE.format(data=data, steps=steps)
        put(out / figure, draw(own))
        tables = [_table(own, names) for names in (NATS, SHARES)]
        sections.append({"data": data, "steps": steps, "figure": figure, "tables": tables, "times": _times(own)})
    names = {"nats": NATS, "shares": SHARES}
    page.put(out / "gemini.md", page.render(Path(__file__).with_name("page.md.j2"), sections=sections, **names))


def draw(rows: Sequence[Row]) -> Figure:
    """The bound of some test images over seconds of training, a line for each run of a method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axis = figure.subplots()
    for number, method in enumerate(METHODS):
        own = [row for row in rows if row["method"] == method and row["images"] == "some"]
        for place, seed in enumerate(sorted({row["seed"] for row in own})):
            points = [(float(row["seconds"]), float(row["test_bound"])) for row in own if row["seed"] == seed]
            style = "-" if method.startswith("joint") else "--"
            axis.plot(*zip(*points, strict=True), style, color=f"C{number}", label=None if place else method)
    best = [float(row["test_bound"]) for row in rows if row["images"] == "some"]
    axis.set(xlabel="seconds of training", ylabel="multi-sample bound, nats", ylim=(max(best) - 60, None))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def at_seconds(rows: Sequence[Row], seconds: float) -> float | None:
    """The bound of the last evaluation of a run that came no later; None where there is none."""
    found = [row for row in rows if row["images"] == "some" and float(row["seconds"]) <= seconds]
    return float(max(found, key=lambda row: float(row["seconds"]))["test_bound"]) if found else None


def _table(rows: Sequence[Row], names: Sequence[str]) -> list[dict[str, str]]:
    found = []
    for method in METHODS:
        own = [row for row in rows if row["method"] == method and row["images"] == "all"]
        if own:
            means = {name: page.over(own, name) for name in (*names, "tokens_used", "seconds", *PASSES)}
            found.append({"method": method, "seeds": str(len(own))} | means)
    return found


def _times(rows: Sequence[Row]) -> list[dict[str, str]]:
    """What each method has reached when the joint runs, or the two stages, of the same seed end: whoever is first."""
    by_run: Mapping[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_run[row["method"], row["seed"]].append(row)
    found = []
    for joint in (method for method in METHODS if method.startswith("joint")):
        for other in (method for method in METHODS if not method.startswith("joint")):
            pairs = []
            for seed in sorted({seed for method, seed in by_run if method == joint}):
                there = by_run.get((other, seed))
                if there:
                    seconds = max(float(row["seconds"]) for row in there)
                    own, last = at_seconds(by_run[joint, seed], seconds), at_seconds(there, seconds)
                    pairs += [(own, last)] if own is not None and last is not None else []
            if pairs:
                texts = [page.average(column) for column in (*zip(*pairs, strict=True), [a - b for a, b in pairs])]
                found.append(dict(zip(("joint", "other", "own", "last", "lead"), (joint, other, *texts), strict=True)))
    return found
