"""What only a model of images can show."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from discretegrad import Reinforce
from experiments.curves import put
from experiments.data.images import Images, binarise
from experiments.systems.vae.model import VAE

COLUMNS = 10


@torch.no_grad()
def draw(folder: Path, model: VAE, images: Images, title: str) -> list[Path]:
    """Reconstructions of test images, and samples of the model; their paths."""
    device = model.prior_logits.device
    generator = torch.Generator(device).manual_seed(0)
    sampler = Reinforce(latent=model.latent)

    shown = images.test[:COLUMNS].to(device)
    binary = binarise(shown, generator)
    posterior = sampler.sample(model.posterior_logits(binary), generator)
    decoded = model.pixel_logits(model.inputs_of(posterior)).sigmoid()[0]
    reconstructions = torch.stack((shown, binary, decoded))

    prior = model.prior_logits.expand(6 * COLUMNS, *model.prior_logits.shape)
    samples = model.pixel_logits(model.inputs_of(sampler.sample(prior, generator))).sigmoid()[0]
    labels = ("image", "binarised", "decoded")
    return [
        put(folder / "reconstructions.png", _grid(reconstructions, images.shape, labels, f"Test images, {title}")),
        put(
            folder / "samples.png",
            _grid(samples.unflatten(0, (6, COLUMNS)), images.shape, None, f"Samples of the model, {title}"),
        ),
    ]


def _grid(images: Tensor, shape: tuple[int, int], labels: tuple[str, ...] | None, title: str) -> Figure:
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
