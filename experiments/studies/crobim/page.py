"""The page: overlaps of all methods, and how much of it is more than noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from experiments.errors import UserError
from experiments.studies import page
from experiments.studies.crobim.runs import FIGURES, METHODS, ROWS
from experiments.studies.trials import Row, read

OVERLAPS = tuple(name for name in FIGURES if "iou" in name)
REST = tuple(name for name in FIGURES if name not in OVERLAPS)
COSTS = ("multiply_adds", "seconds")
COMPARED = (
    ("+ CAPM", "base"),
    ("+ LGFA", "+ CAPM"),
    ("+ MID", "+ LGFA"),
    ("+ MID", "base"),
    *((name, "+ MID") for name in METHODS if name.startswith("window")),
    *((name, "window, soft") for name in METHODS if name.startswith("window") and name != "window, soft"),
)


def write(out: Path) -> None:
    """Write the page of all rows that there are.

    Raises:
        UserError: where there are none.
    """
    rows = read(out / ROWS)
    if not rows:
        raise UserError(f"{out / ROWS} holds no rows yet; measure first, by the part runs.")
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["data"], row["steps"]].append(row)
    sections = [
        {
            "data": data,
            "steps": steps,
            "tables": [_table(own, names) for names in (OVERLAPS, (*REST, *COSTS))],
            "differences": differences(own),
        }
        for (data, steps), own in groups.items()
    ]
    names = {"overlaps": OVERLAPS, "rest": (*REST, *COSTS)}
    page.put(out / "crobim.md", page.render(Path(__file__).with_name("page.md.j2"), sections=sections, **names))


def differences(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Of methods, seed by seed: what a part adds, and what a window does."""
    by_run = {(row["method"], row["seed"]): row for row in rows}
    found = []
    for method, other in COMPARED:
        seeds = sorted(seed for name, seed in by_run if name == method and (other, seed) in by_run)
        if not seeds:
            continue
        line = {"method": method, "other": other, "seeds": str(len(seeds))}
        for name in ("miou", "miou_relational", "miou_small"):
            pairs = [(by_run[method, seed][name], by_run[other, seed][name]) for seed in seeds]
            apart = [float(own) - float(theirs) for own, theirs in pairs if own and theirs]
            line[name] = page.average(apart) if apart else ""
        costs = [float(by_run[each, seeds[0]]["multiply_adds"]) for each in (method, other)]
        found.append(line | {"cost": f"{costs[0] / costs[1]:.2f}"})
    return found


def _table(rows: Sequence[Row], names: Sequence[str]) -> list[dict[str, str]]:
    found = []
    for method in METHODS:
        own = [row for row in rows if row["method"] == method]
        if own:
            means = {name: page.over(own, name) for name in names}
            found.append({"method": method, "seeds": str(len(own))} | means)
    return found
