"""Results as text that fits a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from discretegrad.analysis.ranking import Ranking
from discretegrad.analysis.result import Result

WIDTH = 80


def table(results: Mapping[str, Result], ranking: Ranking) -> list[str]:
    """Lines: a head, the ranked ones, best first, and the biased ones behind."""
    ranks = ranking.ranks
    headline = "var x time" if ranking.criterion == "variance_time" else "var x f"
    lines = [f"{'':7}{'estimator':<20}{'f':>5}{'variance':>17}{'bias':>6}{'cosine':>7}{'ms':>7}{headline:>11}"]
    ordered = [results[name] for name in ranking.numbers]
    ordered += [result for name, result in results.items() if name not in ranking.numbers]
    for result in ordered:
        first, last = ranks.get(result.name, (0, 0))
        place = "biased" if not first else str(first) if first == last else f"{first}-{last}"
        number = ranking.numbers.get(result.name)
        lines.append(
            f"{place:<7}{_short(result.name, 19):<20}{result.evaluations.value:>5.4g}{result.variance!s:>17}"
            f"{_bias(result):>6}{'-' if result.cosine is None else f'{result.cosine.value:.3f}':>7}"
            f"{'-' if result.seconds is None else f'{1e3 * result.seconds.value:.3g}':>7}"
            f"{'-' if number is None else f'{number.value:.3g}':>11}"
        )
    return lines


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
