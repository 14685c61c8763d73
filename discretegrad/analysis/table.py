"""A comparison as text that fits a terminal."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from discretegrad.measure import Estimate

if TYPE_CHECKING:
    from discretegrad.analysis.comparison import Comparison, Result

WIDTH = 80


def table(comparison: Comparison) -> str:
    """The results, best first; the biased ones behind; then what failed, notes, and the recommendation."""
    results, ranking = comparison.results, comparison.ranking()
    ranks = ranking.ranks
    timed = ranking.criterion == "variance_time"
    headline = "var x time" if timed else "var x f"
    lines = [f"{'':7}{'estimator':<20}{'f':>5}{'variance':>17}{'bias':>6}{'cosine':>7}{'ms':>7}{headline:>11}"]
    ordered = [results[name] for name in ranking.numbers]
    ordered += [result for name, result in results.items() if name not in ranking.numbers]
    for result in ordered:
        first, last = ranks.get(result.name, (0, 0))
        place = "biased" if not first else str(first) if first == last else f"{first}-{last}"
        number = ranking.numbers.get(result.name)
        lines.append(
            f"{place:<7}{_short(result.name, 19):<20}{result.evaluations.value:>5.4g}{_with_error(result.variance):>17}"
            f"{_bias(result):>6}{'-' if result.cosine is None else f'{result.cosine.value:.3f}':>7}"
            f"{'-' if result.seconds is None else f'{1e3 * result.seconds.value:.3g}':>7}"
            f"{'-' if number is None else f'{number.value:.3g}':>11}"
        )
    norm = comparison.norm2
    lines += _wrapped(
        f"Truth: {comparison.truth_name}"
        + (f", squared norm {norm.value:.4g}" + (f" +- {norm.error:.1g}" if norm.error else "") if norm else "")
        + f". {sum(math.prod(shape) for shape in comparison.shapes.values())} entries in "
        f"{len(comparison.shapes)} layer{'s' if len(comparison.shapes) > 1 else ''}. "
        "Bias in percent of the norm, blank below two standard errors."
    )
    for name, failure in comparison.failures.items():
        lines += _wrapped(f"{name} failed: {failure}")
    for note in comparison.notes:
        lines += _wrapped(f"Note: {note}")
    return "\n".join((*lines, "", *textwrap.wrap(comparison.recommendation.sentence, WIDTH)))


def _bias(result: Result) -> str:
    if result.bias2 is None:
        return "-"
    if result.bias2.value <= 2 * result.bias2.error or result.norm2 <= 0:
        return ""
    return f"{100 * (result.bias2.value / result.norm2) ** 0.5:.2g}%"


def _with_error(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} +- {estimate.error:.1g}"


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 2]}.."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
