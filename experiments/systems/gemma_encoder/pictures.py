"""What only hard reading can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from experiments.curves import put
from experiments.parts.retrieval import spread
from experiments.systems.gemma_encoder.judging import in_words
from experiments.systems.gemma_encoder.streams import read_only

if TYPE_CHECKING:
    from experiments.systems.gemma_encoder.reading import ReadingTask

SHOWN = 14
"""Texts."""
LETTERS, VERDICT = 150, 32
"""Of a line, and of what is said at its end."""
START = "\u2581"
"""The mark of a word's start."""


@torch.no_grad()
def draw_reading(folder: Path, task: ReadingTask) -> Path:
    """Held-out texts: the words that are read framed, all shaded by how likely they are to be; the picture's path."""
    rows = spread(len(task.targets[1]), SHOWN, task.world.device)
    stream, targets = task.examples(1, rows)
    logits = task.selector(stream)
    kept = task.served(stream, logits)
    likely = task.probability(stream, logits)
    words = in_words(task.kind, task.said(read_only(stream, kept)), targets, task.judgements.classes)
    figure = Figure(figsize=(16, 0.42 * len(rows) + 0.8))
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.9))
    axis.set(xlim=(0, LETTERS), ylim=(len(rows), -0.2))
    axis.axis("off")
    for line, (right, said) in enumerate(zip(*words, strict=True)):
        _draw_text(axis, line + 0.5, task, *(part[line] for part in (stream.ids, stream.words, kept, likely)))
        colour = "green" if right == said else "firebrick"
        verdict = f"{said.removeprefix('noun.')} ({right.removeprefix('noun.')})"
        axis.text(LETTERS - 1, line + 0.5, verdict, fontsize=9, va="center", ha="right", color=colour)
    figure.suptitle(f"Framed: what is read; at the end what is said, and what is right. {task.title}", fontsize=11)
    return put(folder / "reading.png", figure)


def _draw_text(
    axis: Any, height: float, task: ReadingTask, ids: Tensor, words: Tensor, kept: Tensor, likely: Tensor
) -> None:
    """Word by word, as far as there is room; a bar where another text begins."""
    place, last = 0.5, int(words.nonzero().max())
    for token, word, read, share in zip(ids[1 : last + 1], words[1:], kept[1:], likely[1:], strict=False):
        text = task.reader.own.id_to_token(int(token)).replace(START, "").replace("$", "USD") if word else "|"
        if place + len(text) > LETTERS - VERDICT:
            return
        face = (1.0, 0.6, 0.0, float(share))
        box = {"boxstyle": "square,pad=0.15", "facecolor": face, "edgecolor": "black" if read else "none"}
        axis.text(place, height, text, family="monospace", fontsize=9, va="center", bbox=box)
        place += len(text) + 1
