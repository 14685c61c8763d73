"""The page: learned weights against random ones, masks and poolers by task, hard reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.curves import put
from experiments.errors import UserError
from experiments.studies import page
from experiments.studies.gemma_encoder.runs import MASKS, METHODS, POOLERS, READING, ROWS, TASKS
from experiments.studies.trials import Row, read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE = "figures/gemma_encoder.png"
SHARES = ("score", "drawn", "all", "kept", "kept_drawn")
"""Of hard reading."""


def write(out: Path) -> None:
    """Write the page of all rows that there are.

    Raises:
        UserError: where there are none.
    """
    rows = read(out / ROWS)
    if not any(row["part"] == "masks" for row in rows):
        raise UserError(f"{out / ROWS} holds no rows of masks yet; carry out that part first.")
    (out / "figures").mkdir(exist_ok=True)
    put(out / FIGURE, draw(rows))
    text = page.render(
        Path(__file__).with_name("page.md.j2"),
        figure=FIGURE,
        figures=TASKS,
        poolers=POOLERS,
        starts=[_start(rows, task) for task in _tasks(rows)],
        masks=[line for task in _tasks(rows) for line in _masks(rows, task)],
        reading=[line for task in READING for line in _reading(rows, task)],
        decoder=_said(rows, "score", part="start"),
    )
    page.put(out / "gemma_encoder.md", text)


def values(rows: Sequence[Row], name: str, **wanted: str) -> dict[str, float]:
    """A figure of the runs that have the wanted names, by seed."""
    return {
        row["seed"]: float(row[name])
        for row in rows
        if row[name] and all(row[key] == value for key, value in wanted.items())
    }


def lead(own: dict[str, float], other: dict[str, float]) -> str:
    """The mean difference over the seeds that both have, with its error."""
    return page.average(own[seed] - other[seed] for seed in own.keys() & other.keys())


def draw(rows: Sequence[Row]) -> Figure:
    """Every task's figure by pooler, the two masks beside one another; a point a seed."""
    from matplotlib.figure import Figure

    tasks = _tasks(rows)
    figure = Figure(figsize=(4 * len(tasks), 4), layout="constrained")
    for axis, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for number, mask in enumerate(MASKS):
            for place, pooler in enumerate(POOLERS):
                found = values(rows, "score", part="masks", task=task, weights="learned", mask=mask, pooler=pooler)
                label = mask if place == 0 else None
                axis.plot([place + 0.2 * number] * len(found), found.values(), f"C{number}o", label=label, markersize=5)
        axis.set(title=task, ylabel=TASKS[task], xticks=[place + 0.1 for place in range(len(POOLERS))])
        axis.set_xticklabels(POOLERS)
        axis.grid(alpha=0.3)
    axis.legend()
    return figure


def _tasks(rows: Sequence[Row]) -> list[str]:
    return [task for task in TASKS if any(row["task"] == task and row["part"] == "masks" for row in rows)]


def _said(rows: Sequence[Row], name: str, **wanted: str) -> str:
    return page.average(values(rows, name, **wanted).values())


def _start(rows: Sequence[Row], task: str) -> dict[str, str]:
    """Learned weights and random ones under both masks, by the mean."""
    line = {"task": task, "majority": _said(rows, "majority", part="masks", task=task, mask=MASKS[0], pooler="mean")}
    for mask in MASKS:
        wanted = {"part": "masks", "task": task, "mask": mask, "pooler": "mean"}
        both = {weights: values(rows, "score", **wanted, weights=weights) for weights in ("learned", "random")}
        line |= {f"{mask}_{weights}": page.average(own.values()) for weights, own in both.items()}
        line[f"{mask}_lead"] = lead(*both.values())
    return line


def _masks(rows: Sequence[Row], task: str) -> list[dict[str, str]]:
    """A line for each mask, and one for the lead of the bidirectional one."""
    wanted = {"part": "masks", "task": task, "weights": "learned"}
    found = {
        mask: {pooler: values(rows, "score", **wanted, mask=mask, pooler=pooler) for pooler in POOLERS}
        for mask in MASKS
    }
    lines = [
        {"task": task, "mask": mask} | {pooler: page.average(each.values()) for pooler, each in own.items()}
        for mask, own in found.items()
    ]
    leads = {pooler: lead(found[MASKS[0]][pooler], found[MASKS[1]][pooler]) for pooler in POOLERS}
    return [*lines, {"task": task, "mask": "lead of bidirectional"} | leads]


def _reading(rows: Sequence[Row], task: str) -> list[dict[str, str]]:
    lines = []
    for method in METHODS:
        wanted = {"part": "reading", "task": task, "method": method}
        seeds = len(values(rows, "score", **wanted))
        if seeds:
            own = {name: _said(rows, name, **wanted) for name in SHARES}
            lines.append({"task": task, "method": method, "seeds": str(seeds)} | own)
    return lines
