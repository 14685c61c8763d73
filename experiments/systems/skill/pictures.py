"""What only paths can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from experiments.curves import put

if TYPE_CHECKING:
    from experiments.systems.skill.paths import PathTask

SHOWN = 40
"""Paths, of those with most questions."""


def draw(folder: Path, task: PathTask) -> list[Path]:
    """Shares of held-out questions whose answers are found, by path and by how they are worded; the file."""
    parts = [
        (part, questions, task.shares(number, questions, None))
        for number, (part, questions) in enumerate(task.held_out.items(), start=1)
    ]
    groups = parts[0][1].groups
    counts = parts[0][1].group.bincount(minlength=len(groups)).tolist()
    order = sorted(sorted(range(len(groups)), key=lambda row: -counts[row])[:SHOWN], key=lambda row: groups[row])
    order.sort(key=lambda row: -groups[row].hops)
    figure = Figure(figsize=(8, 1.5 + 0.22 * len(order)), layout="constrained")
    axis = figure.subplots()
    height = 0.8 / len(parts)
    for number, (part, questions, shares) in enumerate(parts):
        named = dict(zip(questions.groups, shares, strict=True))
        lines = [(line + height * number, named[groups[row]]) for line, row in enumerate(order) if groups[row] in named]
        axis.barh(*zip(*lines, strict=True), height=height, align="edge", label=part.replace("_", " "))
    axis.set_yticks([line + 0.4 for line in range(len(order))], [groups[row].name for row in order], fontsize=7)
    axis.set(xlim=(0, 1), xlabel="share of questions whose answers are found", title=task.title)
    axis.grid(alpha=0.3, axis="x")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(parts))
    return [put(folder / "paths.png", figure)]
