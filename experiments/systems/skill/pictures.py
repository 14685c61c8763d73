"""What only paths can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.curves import put
from experiments.parts.questions import Questions

SHOWN = 40
"""Paths, of those with most questions."""


def draw_shares(
    path: Path, parts: Mapping[str, Questions], shares: Mapping[str, Sequence[float]], what: str, title: str
) -> list[Path]:
    """Shares of held-out questions by the path that answers them, and by how they are worded; the file.

    Args:
        path: of the file.
        parts, shares: questions, and what was found of each of their groups.
        what: is shared.
        title: of the figure.
    """
    first = next(iter(parts.values()))
    counts = first.group.bincount(minlength=len(first.groups)).tolist()
    shown = sorted(range(len(counts)), key=lambda row: -counts[row])[:SHOWN]
    groups = sorted((first.groups[row] for row in shown), key=lambda group: (-group.hops, group.name))
    figure = Figure(figsize=(8, 1.5 + 0.22 * len(groups)), layout="constrained")
    axis = figure.subplots()
    height = 0.8 / len(parts)
    for number, (part, questions) in enumerate(parts.items()):
        named = dict(zip(questions.groups, shares[part], strict=True))
        places = [line + height * number for line in range(len(groups))]
        axis.barh(
            places, [named.get(g, 0.0) for g in groups], height=height, align="edge", label=part.replace("_", " ")
        )
    axis.set_yticks([line + 0.4 for line in range(len(groups))], [group.name for group in groups], fontsize=7)
    axis.set(xlim=(0, 1), xlabel=what, title=title)
    axis.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside lower center", ncols=len(parts))
    return [put(path, figure)]
