"""What only a model of images and their captions can show."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor

from experiments.curves import put
from experiments.parts.pictures import COLUMNS, grid
from experiments.systems.gemini.judging import answers, captions_read, images_drawn, prompts_of

if TYPE_CHECKING:
    from experiments.systems.gemini.task import GeminiTask

READ = (4, 5)
"""Rows and columns of images whose captions are read."""
PROMPTS = 4
"""Of each kind."""


@torch.no_grad()
def draw(folder: Path, task: GeminiTask) -> list[Path]:
    """Reconstructions of test images, images drawn from captions, captions read from images, prompts; their paths."""
    generator = torch.Generator(task.world.device).manual_seed(0)
    return [
        put(folder / "reconstructions.png", _reconstructions(task, generator)),
        put(folder / "drawn.png", _drawn(task, generator)),
        put(folder / "read.png", _read(task, generator)),
        put(folder / "prompts.png", _prompts(task, generator)),
    ]


def _reconstructions(task: GeminiTask, generator: torch.Generator) -> Figure:
    images = task.images.test[:COLUMNS]
    binary = task.observed(images, generator)
    decoded = task.model.pixel_logits(task.model.draw(binary, 1, generator)[0][0]).sigmoid()
    rows = {"image": images, "as seen": binary, "decoded": decoded}
    return grid(torch.stack([*rows.values()]), task.images.shape, [*rows], f"Test images, {task.title}")


def _drawn(task: GeminiTask, generator: torch.Generator) -> Figure:
    """A column for each class, a row for each of some attributes."""
    slots = [*task.captions.slots.values()]
    ends = [(0, len(words) - 1) for words in slots[:-1]]
    classes = len(slots[-1])
    rows = [*itertools.product(*ends)]
    firsts = task.captions.firsts
    captions = [(*row, number) for row in rows for number in range(classes)]
    words = [[first + own for first, own in zip(firsts, caption, strict=True)] for caption in captions]
    pixels = images_drawn(task, torch.tensor(words, device=task.world.device), generator)
    labels = ["\n".join(slots[slot][own].partition("-")[0] for slot, own in enumerate(row)) for row in rows]
    title = f"Drawn from captions such as “{task.captions.text(words[0])}”, {task.title}"
    return grid(pixels.unflatten(0, (len(rows), classes)), task.images.shape, labels, title)


def _read(task: GeminiTask, generator: torch.Generator) -> Figure:
    images = task.images.test[: READ[0] * READ[1]]
    ids = task.model.draw(task.observed(images, generator), 1, generator)[0][0]
    read, true = captions_read(task, ids), task.get_buffer("test_captions")[: len(images)]
    texts = [_wrapped(task, own, known) for own, known in zip(read, true, strict=True)]
    texts += [""] * (READ[0] * READ[1] - len(images))
    return _with_texts(task, [*images], texts, READ[1], f"Captions read from tokens (wrong words marked), {task.title}")


def _prompts(task: GeminiTask, generator: torch.Generator) -> Figure:
    """In every row complete examples, and the answer: to images whose captions are read, then to captions."""
    prompts = prompts_of(len(task.images.test), task.examples, PROMPTS).to(task.world.device)
    _, read, pixels = answers(task, prompts, generator)
    shown: list[Tensor | None] = []
    texts: list[str] = []
    for reads, (row, own, answer) in itertools.product((True, False), zip(prompts, read, pixels, strict=True)):
        captions = task.get_buffer("test_captions")[row]
        shown += [*task.images.test[row]] if reads else [*task.images.test[row[:-1]], answer]
        given = [task.captions.text(caption).replace(" ", "\n") for caption in captions]
        texts += given[:-1]
        texts.append(_wrapped(task, own, captions[-1]) if reads else "drawn from\n" + given[-1])
    return _with_texts(task, shown, texts, task.examples, f"Prompts: the last of each row is the answer, {task.title}")


def _wrapped(task: GeminiTask, own: Tensor, known: Tensor) -> str:
    words = [task.captions.words[int(word)] for word in own]
    return "\n".join(w if int(a) == int(b) else f"[{w}]" for w, a, b in zip(words, own, known, strict=True))


def _with_texts(
    task: GeminiTask, images: Sequence[Tensor | None], texts: Sequence[str], columns: int, title: str
) -> Figure:
    rows = len(texts) // columns
    figure = Figure(figsize=(1.8 * columns, 1.1 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for number, text in enumerate(texts):
        axis = axes[divmod(number, columns)]
        axis.axis("off")
        if number < len(images):
            image = images[number]
            assert image is not None
            axis.imshow(image.reshape(task.images.shape).cpu().numpy(), cmap="gray_r", vmin=0, vmax=1)
        axis.text(1.03, 0.5, text, fontsize=7, transform=axis.transAxes, verticalalignment="center")
    figure.suptitle(title, fontsize=10)
    return figure
