"""What only lists can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from experiments.curves import put

if TYPE_CHECKING:
    from experiments.systems.inverted_file.task import InvertedFileTask


@torch.no_grad()
def draw(folder: Path, task: InvertedFileTask) -> list[Path]:
    """How many held-out documents are in each list, against how often it is searched, before and after; the path."""
    documents = task.held_out.documents
    probed = task.probed(task.held_out.queries).float().mean(0).cpu()
    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    assigned = {"nearest centroid": (documents @ task.centroids.T).argmax(-1), "trained": task.assigned(documents)}
    for marker, (label, lists) in zip("o^", assigned.items(), strict=True):
        sizes = torch.bincount(lists, minlength=task.lists).cpu() / len(documents)
        axis.scatter(probed, sizes, s=14, marker=marker, alpha=0.7, label=label)
    axis.set(xlabel="share of queries that search the list", ylabel="share of documents in it", title=task.title)
    axis.grid(alpha=0.3)
    axis.legend()
    return [put(folder / "lists.png", figure)]
