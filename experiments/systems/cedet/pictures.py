"""What only a detector can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure

from experiments.curves import put
from experiments.engine import World
from experiments.parts.boxes import corners
from experiments.systems.cedet.graphs import pairs
from experiments.systems.cedet.judging import detected
from experiments.systems.cedet.model import Found
from experiments.systems.cedet.scenes import Stock

if TYPE_CHECKING:
    from experiments.systems.cedet.task import CEDetTask

COLUMNS = 5
SCORE = 0.5
"""Least of a detection that is shown."""


@torch.no_grad()
def draw(folder: Path, task: CEDetTask) -> list[Path]:
    """A picture for each set of scenes: buildings that there are, over those that are found; the paths."""
    stocks = {"detections": task.test_stock} | {f"{name}_detections": each for name, each in task.other_stocks.items()}
    return [put(folder / f"{name}.png", _figure(task, stock)) for name, stock in stocks.items()]


def _figure(task: CEDetTask, stock: Stock) -> Figure:
    result = next(detected(task.model, stock, task.size, COLUMNS, World(device=task.world.device)))
    count = min(COLUMNS, len(result.detections))
    side = 2.4 if result.found is not None else 5.0
    figure = Figure(figsize=(side * count + 0.4, 2 * side + 0.6), layout="constrained")
    axes: Any = figure.subplots(2, count, squeeze=False)
    for number, own in enumerate(result.detections[:count]):
        image = result.truth.images[number].movedim(0, -1).cpu().numpy()
        for row in range(2):
            axes[row, number].imshow(image, cmap="gray", vmin=0, vmax=1, extent=(0, image.shape[1], image.shape[0], 0))
            axes[row, number].set(xticks=[], yticks=[])
            axes[row, number].autoscale(False)
        _boxes(axes[0, number], own.truth, "tab:green")
        _boxes(axes[1, number], own.boxes[own.scores >= SCORE], "tab:orange")
        if result.found is not None:
            _edges(axes[1, number], result.found, number)
    edges = result.found is not None and task.model.graph != "none"
    axes[0, 0].set_ylabel("buildings")
    axes[1, 0].set_ylabel(f"found, score at least {SCORE:g}" + (", and edges" if edges else ""))
    figure.suptitle(task.title, fontsize=10, wrap=True)
    return figure


def _edges(axis: Any, found: Found, number: int) -> None:
    boxes = found.regions.boxes[0, number].cpu()
    for first, second in pairs(len(boxes), boxes.device).T[found.edges[number].cpu() > 0].tolist():
        ends = boxes[[first, second]]
        axis.plot(ends[:, 0], ends[:, 1], color="tab:cyan", linewidth=0.6, marker=".", markersize=2)


def _boxes(axis: Any, boxes: torch.Tensor, colour: str) -> None:
    for outline in corners(boxes).cpu():
        axis.fill(*outline.T.numpy(), fill=False, edgecolor=colour, linewidth=1.2)
