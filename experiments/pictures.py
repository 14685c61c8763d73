"""The pictures in a run folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

from discretegrad import Reinforce
from experiments.data.images import Images, binarise
from experiments.files import write_whole
from experiments.models import VAE

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

COLUMNS = 10


@torch.no_grad()
def draw_all(
    folder: Path,
    model: VAE,
    images: Images,
    rows: list[dict[str, Any]],
    title: str,
    watched: list[dict[str, Any]] | None = None,
) -> list[Path]:
    """Reconstructions, samples, the learning curve, and what a monitor saw; their paths."""
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

    figures = {
        "reconstructions": _grid(
            reconstructions, images.shape, ("image", "binarised", "decoded"), f"Test images, {title}"
        ),
        "samples": _grid(samples.unflatten(0, (6, COLUMNS)), images.shape, None, f"Samples of the model, {title}"),
        "learning_curve": _learning_curve(rows, title),
    }
    if watched is not None:
        figures["monitor"] = _monitored(watched, title)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        write_whole(paths[-1], partial(figure.savefig, format="png", dpi=120))
        plt.close(figure)
    return paths


def _grid(images: Tensor, shape: tuple[int, int], labels: tuple[str, ...] | None, title: str) -> Figure:
    rows, columns = images.shape[:2]
    figure, axes = plt.subplots(rows, columns, figsize=(0.8 * columns + 0.9, 0.8 * rows + 0.5), layout="constrained")
    for r in range(rows):
        for c in range(columns):
            axis = axes[r, c]
            axis.imshow(images[r, c].reshape(shape).cpu().numpy(), cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        if labels is not None:
            axes[r, 0].set_ylabel(labels[r], fontsize=10)
    figure.suptitle(title, fontsize=11)
    return figure


def _learning_curve(rows: list[dict[str, Any]], title: str) -> Figure:
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
    for axis, column, label, style in (
        (top, "train_elbo", "ELBO, training batches", {"color": "0.45"}),
        (top, "test_bound", "multi-sample bound, test", {"color": "C0", "marker": "o", "markersize": 4}),
        (bottom, "encoder_gradient_variance", None, {"color": "C0"}),
    ):
        points = [(row["step"], row[column]) for row in rows if row[column] is not None]
        axis.plot(*zip(*points, strict=True) if points else ((), ()), label=label, **style)
    # The first steps are far below the rest, and would press it flat.
    elbos = sorted(row["train_elbo"] for row in rows)
    if len(elbos) > 10:
        top.set_ylim(bottom=elbos[len(elbos) // 20] - 5)
    top.set_ylabel("nats per image")
    top.legend(loc="lower right")
    bottom.set_ylabel("variance of the\nencoder's gradient, total")
    bottom.set_xlabel("step")
    if any(row["encoder_gradient_variance"] for row in rows):
        bottom.set_yscale("log")
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    return figure


def _monitored(rows: list[dict[str, Any]], title: str) -> Figure:
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
    top.plot([row["step"] for row in rows], [row["entropy"] for row in rows], color="C0", marker=".", markersize=4)
    top.set_ylabel("posterior entropy,\nnats per variable")
    measured = [row for row in rows if row["variance"] is not None]
    steps, variances, errors = ([row[name] for row in measured] for name in ("step", "variance", "variance_se"))
    bottom.errorbar(steps, variances, errors, color="C0", marker=".", markersize=4, linewidth=1, elinewidth=0.8)
    bottom.set_ylabel("variance of the\nlogits' gradient, total")
    bottom.set_xlabel("step")
    if any(variances):
        bottom.set_yscale("log")
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    return figure
