"""The page: look-ups until most answers are found, by estimator; curves; variances; language models beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from experiments.collect.groups import Mean, mean
from experiments.curves import put
from experiments.errors import UserError
from experiments.studies import page
from experiments.studies.skill import arms, arms_page
from experiments.studies.skill.runs import CEILING, EXACT_STEPS, GRAPHS, METHODS, ROWS
from experiments.studies.skill.variance import ROWS as VARIANCES
from experiments.studies.trials import Row, read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE = "figures/skill-paths.png"
SHARE = 0.9
"""Of the ceiling, until which look-ups are counted."""
TITLES = {"geonames": "GeoNames", "wordnet": "WordNet"}


class Curve(NamedTuple):
    """One run."""

    seed: int
    lookups: list[float]
    found: list[float]
    """Shares of held-out answer sets."""
    last: Row

    def until(self, share: float) -> float | None:
        """Look-ups at the first evaluation that finds so much."""
        return next((spent for spent, found in zip(self.lookups, self.found, strict=True) if found >= share), None)


Curves = Mapping[str, Sequence[Curve]]


def write(out: Path) -> None:
    """Write the page of all rows that there are.

    Raises:
        UserError: where there are none.
    """
    rows, asked = read(out / ROWS), read(out / arms.ROWS)
    graphs = {graph: curves(rows, graph) for graph in TITLES if any(row["graph"] == graph for row in rows)}
    if not graphs:
        raise UserError(f"{out / ROWS} has no runs; carry out the part paths first.")
    followed = {str(c.seed): float(c.last["held_out_2"]) for c in graphs.get("geonames", {}).get(arms_page.PATHS, ())}
    splits = dict.fromkeys(row["split"] for row in asked)
    text = page.render(
        Path(__file__).with_name("page.md.j2"),
        tables=[(TITLES[graph], told(graph), ceiling(found), table(found)) for graph, found in graphs.items()],
        variances=variances(read(out / VARIANCES)),
        arms=[(split, arms_page.table(asked, split), arms_page.claims(asked, split, followed)) for split in splits],
        costs=arms_page.costs(asked),
        share=f"{SHARE:.0%}",
        figure=FIGURE,
    )
    page.put(out / "skill.md", text)
    (out / "figures").mkdir(exist_ok=True)
    put(out / FIGURE, draw(graphs))


def told(graph: str) -> str:
    """What the runs of a graph are given."""
    return f"`{' '.join(GRAPHS[graph])}`, and `Exact` `run.steps={EXACT_STEPS[graph]}`"


def curves(rows: Sequence[Row], graph: str) -> Curves:
    """By method, the runs of a graph."""
    grouped: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row["graph"] == graph:
            grouped[row["method"], int(row["seed"])].append(row)
    found: dict[str, list[Curve]] = {method: [] for method in METHODS}
    for (method, seed), own in sorted(grouped.items()):
        own = sorted(own, key=lambda row: int(row["step"]))
        spent, shares = ([float(row[name]) for row in own] for name in ("lookups", "held_out"))
        found[method].append(Curve(seed, spent, shares, own[-1]))
    return {method: own for method, own in found.items() if own}


def ceiling(found: Curves) -> float:
    """What a policy finds that was told the paths, the mean over its runs; 1 where there is none."""
    return fmean(curve.found[-1] for curve in found[CEILING]) if CEILING in found else 1.0


def table(found: Curves) -> list[dict[str, str | int]]:
    """A line a method."""
    most, lines = ceiling(found), []
    for method, own in found.items():
        reached = [spent for curve in own if (spent := curve.until(SHARE * most)) is not None]
        until = "-" if method == CEILING else _thousands(mean(reached)) if reached else "never"
        line: dict[str, str | int] = {"method": method, "seeds": len(own), "until": until}
        line["reached"] = "" if method == CEILING else f"{len(reached)} of {len(own)}"
        line["all"] = "-" if method == CEILING else f"{fmean(curve.lookups[-1] for curve in own) / 1000:,.0f}"
        for name in ("held_out_1", "held_out_2", "held_out_3", "held_out", "reworded"):
            line[name] = page.with_error(mean([float(curve.last[name]) for curve in own]))
        lines.append(line)
    return lines


def variances(rows: Sequence[Row]) -> list[dict[str, str]]:
    """By method, the variance at each stage over that of the first method, with its error."""
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    by = {(row["stage"], row["method"]): row for row in rows}
    lines = []
    for method in methods:
        line = {"method": method, "lookups": by[stages[0], method]["evaluations"]}
        for number, stage in enumerate(stages):
            row, first = by[stage, method], by[stage, methods[0]]
            scale = float(first["variance"])
            line[f"stage{number}"] = page.number(float(row["variance"]) / scale, float(row["variance_se"]) / scale)
        lines.append(line)
    return lines


def draw(graphs: Mapping[str, Curves]) -> Figure:
    """What is found over look-ups: every run, and the mean of each method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * len(graphs), 5.2), layout="constrained")
    for axis, (graph, found) in zip(figure.subplots(1, len(graphs), squeeze=False)[0], graphs.items(), strict=True):
        axis.axhline(SHARE * ceiling(found), color="0.5", linestyle=":", label=f"{SHARE:.0%} of the ceiling")
        for number, (method, own) in enumerate(each for each in found.items() if each[0] != CEILING):
            for curve in own:
                axis.plot(curve.lookups, curve.found, color=f"C{number}", alpha=0.2, linewidth=0.8)
            points = zip(*(zip(curve.lookups, curve.found, strict=True) for curve in own), strict=False)
            means = [(fmean(spent for spent, _ in point), fmean(share for _, share in point)) for point in points]
            axis.plot(*zip(*means, strict=True), color=f"C{number}", label=method)
        axis.set(xscale="log", xlabel="look-ups", ylabel="share of held-out answer sets that are found", ylim=(0, 1.02))
        axis.set_title(TITLES[graph])
        axis.grid(alpha=0.3)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=4)
    return figure


def _thousands(value: Mean) -> str:
    return f"{value.mean / 1000:,.0f}" + ("" if value.error is None else f" ± {value.error / 1000:,.0f}")
