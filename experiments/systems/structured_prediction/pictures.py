"""What only a predictor of half images can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

import discretegrad as dg
from experiments.curves import put
from experiments.parts.pictures import grid

if TYPE_CHECKING:
    from experiments.systems.structured_prediction.task import StructuredPredictionTask

COLUMNS, SAMPLES = 10, 5


@torch.no_grad()
def draw(folder: Path, task: StructuredPredictionTask) -> list[Path]:
    """Test images, their upper halves, and lower halves that the model draws for them; the picture's path."""
    images, model = task.images, task.model
    device = model.mean.device
    generator = torch.Generator(device).manual_seed(0)
    shown = task.observed(images.test[:COLUMNS].to(device), generator)
    given, wanted = task.halves(shown)
    sampler = dg.Reinforce(SAMPLES, latent=model.latent)
    lower = model.pixel_logits(model.trajectories(given, sampler, generator).points).sigmoid()
    completed = torch.cat((given.expand(SAMPLES, *given.shape), lower), -1)
    rows = torch.cat((shown.unsqueeze(0), torch.cat((given, torch.zeros_like(wanted)), -1).unsqueeze(0), completed))
    labels = ["image", "upper half", *(f"drawn {number}" for number in range(1, SAMPLES + 1))]
    return [put(folder / "completions.png", grid(rows, images.shape, labels, f"Test images, {task.title}"))]
