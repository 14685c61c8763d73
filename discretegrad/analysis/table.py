"""Results as text that fits a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from discretegrad.analysis.ranking import Ranking
from discretegrad.analysis.result import Result

WIDTH = 80
HEADS = {"variance_time": "var x time", "variance_evaluations": "var x f", "mse": "error^2"}


def table(results: Mapping[str, Result], ranking: Ranking) -> list[str]:
    """Lines: a head, the ranked ones, best first, and the biased ones behind."""
    ranks = ranking.ranks
    rows = [("", "estimator", "f", "variance", "bias", "cosine", "ms", HEADS[ranking.criterion])]
    ordered = [results[name] for name in ranking.numbers]
    ordered += [result for name, result in results.items() if name not in ranking.numbers]
    for result in ordered:
        first, last = ranks.get(result.name, (0, 0))
        place = "biased" if not first else str(first) if first == last else f"{first}-{last}"
        number = ranking.numbers.get(result.name)
        rows.append(
            (
                place,
                result.name,
                f"{result.evaluations.value:.4g}",
                str(result.variance),
                _bias(result),
                "-" if result.cosine is None else f"{result.cosine.value:.3f}",
                "-" if result.seconds is None else f"{1e3 * result.seconds.value:.3g}",
                "-" if number is None else f"{number.value:.3g}",
            )
        )
    return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as they need, the names cut off to fit."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[1] = max(9, min(widths[1], WIDTH - sum(widths) + widths[1] - len(widths) + 1))
    return [
        " ".join(
            f"{_short(cell, width):<{width}}" if index < 2 else f"{cell:>{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def wrapped(text: str, indent: str = "  ") -> list[str]:
    """Lines of a sentence, those behind the first indented."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent)


def _bias(result: Result) -> str:
    if result.bias2 is None:
        return "-"
    if result.bias2.value <= 2 * result.bias2.error or result.norm2 <= 0:
        return ""
    return f"{100 * (result.bias2.value / result.norm2) ** 0.5:.2g}%"


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 2]}.."
