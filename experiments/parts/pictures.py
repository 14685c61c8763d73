"""What only a model of images can show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from experiments.curves import put
from experiments.data.images import Images, binarise

COLUMNS = 10


@torch.no_grad()
def draw(
    folder: Path,
    images: Images,
    title: str,
    device: torch.device,
    decoded: Callable[[Tensor, torch.Generator], Mapping[str, Tensor]],
    sampled: Callable[[int, torch.Generator], Tensor],
) -> list[Path]:
    """Reconstructions of test images, and samples of the model; their paths.

    Args:
        folder: the pictures'.
        images: the data, whose first test images are shown.
        title: of both pictures.
        device: of the model.
        decoded: from binary images `[N, D]` to rows of reconstructions `[N, D]` in [0, 1] by their labels.
        sampled: so many images in [0, 1].
    """
    generator = torch.Generator(device).manual_seed(0)
    shown = images.test[:COLUMNS].to(device)
    binary = binarise(shown, generator)
    rows = {"image": shown, "binarised": binary} | dict(decoded(binary, generator))
    samples = sampled(6 * COLUMNS, generator).unflatten(0, (6, COLUMNS))
    reconstructions = grid(torch.stack(list(rows.values())), images.shape, list(rows), f"Test images, {title}")
    return [
        put(folder / "reconstructions.png", reconstructions),
        put(folder / "samples.png", grid(samples, images.shape, None, f"Samples of the model, {title}")),
    ]


def grid(images: Tensor, shape: tuple[int, int], labels: list[str] | None, title: str) -> Figure:
    """Images `[rows, columns, height * width]` in [0, 1], dark on white, with a label for each row."""
    rows, columns = images.shape[:2]
    figure = Figure(figsize=(0.8 * columns + 0.9, 0.8 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns)
    for r in range(rows):
        for c in range(columns):
            axis = axes[r, c]
            axis.imshow(images[r, c].reshape(shape).cpu().numpy(), cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        if labels is not None:
            axes[r, 0].set_ylabel(labels[r], fontsize=10)
    figure.suptitle(title, fontsize=11)
    return figure
