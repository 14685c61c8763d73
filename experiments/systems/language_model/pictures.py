"""What only a language model can show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.curves import put
from experiments.parts.text import PADDING

WIDTH = 78
"""Characters of a text that are shown."""


def draw(folder: Path, texts: Sequence[str], right: Sequence[str], said: Sequence[str], title: str) -> list[Path]:
    """A table of texts, of the parts that were left out, and of what the model says; the path."""
    rows = [
        [
            _short(text.replace(PADDING, "").replace("<pad>", "").replace("</s>", ""), WIDTH),
            _short(known, 30),
            _short(own, 30),
        ]
        for text, known, own in zip(texts, right, said, strict=True)
    ]
    figure = Figure(figsize=(16, 0.3 * len(rows) + 1), layout="constrained")
    axis = figure.subplots()
    axis.axis("off")
    table = axis.table(
        rows, colLabels=["text", "left out", "said"], colWidths=[0.6, 0.2, 0.2], cellLoc="left", loc="center"
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    figure.suptitle(title, fontsize=11)
    return [put(folder / "completions.png", figure)]


def _short(text: str, length: int) -> str:
    """Without what matplotlib would take for mathematics."""
    text = " ".join(text.replace("$", "USD ").split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
