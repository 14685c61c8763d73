"""What only embeddings with prefixes can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from experiments.curves import put
from experiments.systems.gemini_embedding.judging import judge, prefix

if TYPE_CHECKING:
    from experiments.systems.gemini_embedding.task import GeminiEmbeddingTask

ASKED = 500
"""Queries of each task, at most."""


def draw(folder: Path, task: GeminiEmbeddingTask) -> list[Path]:
    """The mean reciprocal rank by prefixes of every size, task by task; the path."""
    sizes = [task.dimensions]
    while sizes[-1] > 4:
        sizes.append(sizes[-1] // 2)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for (name, judging), marker in zip(task.judgings().items(), "os^vDP*X" * len(task.mixture.tasks), strict=False):
        found = judge(
            task.model.tower,
            {name: judging},
            lambda q, d: [(str(size), prefix(q, size), prefix(d, size)) for size in sizes],
            ASKED,
            task.world,
        )
        axis.plot(sizes, [found[str(size)] for size in sizes], marker=marker, markersize=4, label=name)
    axis.set(
        xscale="log", ylim=(0, None), xlabel="numbers of the vector, from the first", ylabel="MRR of held-out queries"
    )
    axis.set_xticks(sizes)
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend()
    axis.set_title(task.title, fontsize=9)
    return [put(folder / "prefixes.png", figure)]
