"""What is meant, what is found, and where was looked more closely."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.curves import put

if TYPE_CHECKING:
    from experiments.systems.crobim.task import CroBIMTask

COLUMNS, ROWS = 4, 2


@torch.no_grad()
def draw(folder: Path, task: CroBIMTask) -> list[Path]:
    """Some test images with the truth's outline in white, what is found in yellow, and windows in cyan."""
    from experiments.parts.retrieval import spread

    numbers = spread(len(task.test_stock), COLUMNS * ROWS, task.world.device).tolist()
    batch = task.test_stock.take(numbers, task.world.device)
    seen = task.model.see(batch.images, batch.words)
    places = None if seen.cells is None else task.model.likeliest(seen)
    logits = seen.logits if places is None else task.model.closely(seen, places[None])[0]
    figure = Figure(figsize=(2.6 * COLUMNS, 3.1 * ROWS), layout="constrained")
    axes = figure.subplots(ROWS, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for place, (axis, text) in enumerate(zip(axes, task.test_stock.expressions(numbers), strict=False)):
        axis.imshow(batch.images[place].permute(1, 2, 0).cpu().numpy())
        for mask, colour in ((batch.masks[place], "white"), (logits[place] > 0, "yellow")):
            if mask.any():
                axis.contour(mask.float().cpu().numpy(), levels=[0.5], colors=colour, linewidths=1.2)
        crop = task.model.crop
        for x, y in [] if places is None else places[place].tolist():
            corner = (x - crop / 2 - 0.5, y - crop / 2 - 0.5)
            axis.add_patch(Rectangle(corner, crop, crop, fill=False, edgecolor="cyan", linewidth=1.2))
        axis.set_title("\n".join(textwrap.wrap(text, 30)), fontsize=8)
    figure.suptitle(f"White: meant; yellow: found; cyan: looked at more closely. {task.title}", fontsize=9)
    return [put(folder / "masks.png", figure)]
