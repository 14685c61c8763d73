"""What models of texts can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.curves import put

INCHES = 16
"""Of a table."""
LETTERS = 130
"""Of a line in it."""


def draw_table(path: Path, rows: Sequence[Sequence[str]], columns: Mapping[str, float], title: str) -> Path:
    """A table of texts, each cut off where its column ends.

    Args:
        path: of the picture.
        rows: its lines.
        columns: their names, each with its share of the width.
        title: above it.
    """
    shares = [*columns.values()]
    short = [[_short(text, int(LETTERS * share)) for text, share in zip(row, shares, strict=True)] for row in rows]
    figure = Figure(figsize=(INCHES, 0.3 * len(rows) + 1), layout="constrained")
    axis = figure.subplots()
    axis.axis("off")
    table = axis.table(short, colLabels=[*columns], colWidths=shares, cellLoc="left", loc="center")
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    figure.suptitle(title, fontsize=11)
    return put(path, figure)


def _short(text: str, length: int) -> str:
    """Without what matplotlib would take for mathematics."""
    text = " ".join(text.replace("$", "USD ").split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
