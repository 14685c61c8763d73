"""Who is better than whom, with an error rate for all such claims together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from scipy import stats

from discretegrad.measure import Estimate
from discretegrad.moments import GROUPS


@dataclass(frozen=True)
class Ranking:
    """Estimators by one number, of which less is better.

    "A beats B" is claimed where a two-sided t-test of the logarithms' difference says so; Holm's correction over all
    pairs keeps the probability of any false claim at `1 - confidence` at most.
    """

    criterion: str
    numbers: dict[str, Estimate]
    """What is compared, in ascending order."""
    confidence: float
    claims: frozenset[tuple[str, str]]
    """Pairs of which the first beats the second."""

    def beats(self, one: str, other: str) -> bool:
        """Whether one is better than the other by more than noise."""
        for name in (one, other):
            if name not in self.numbers:
                raise KeyError(f"{name!r} is not in this ranking; there are {', '.join(map(repr, self.numbers))}.")
        return (one, other) in self.claims

    @property
    def ranks(self) -> dict[str, tuple[int, int]]:
        """The first and the last place that each may have."""
        names = list(self.numbers)
        return {
            name: (
                1 + sum((other, name) in self.claims for other in names),
                len(names) - sum((name, other) in self.claims for other in names),
            )
            for name in names
        }

    @property
    def leaders(self) -> list[str]:
        """Those whom nobody beats, the best first."""
        return [name for name, (first, _) in self.ranks.items() if first == 1]

    def __str__(self) -> str:
        width = max((len(name) for name in self.numbers), default=0)
        lines = [f"{self.criterion}, less is better; all claims together hold with {self.confidence:.0%} confidence"]
        for name, (first, last) in self.ranks.items():
            place = str(first) if first == last else f"{first}-{last}"
            number = self.numbers[name]
            lines.append(f"{place:>5}  {name:<{width}}  {number.value:.4g} +- {number.error:.1g}")
        return "\n".join(lines)


def rank(criterion: str, numbers: Mapping[str, Estimate], confidence: float) -> Ranking:
    """Compare all pairs of independent estimates."""
    pairs = sorted((_p_value(numbers[one], numbers[other]), one, other) for one, other in combinations(numbers, 2))
    claims = set()
    for place, (p_value, one, other) in enumerate(pairs):
        if p_value > (1 - confidence) / (len(pairs) - place):  # Holm 1979: nor are any of those that follow
            break
        claims.add((one, other) if numbers[one].value < numbers[other].value else (other, one))
    ordered = dict(sorted(numbers.items(), key=lambda item: item[1].value))
    return Ranking(criterion, ordered, confidence, frozenset(claims))


def interval(estimate: Estimate, confidence: float) -> tuple[float, float]:
    """Of a quantity of either sign."""
    reach = float(stats.t.isf((1 - confidence) / 2, GROUPS - 1)) * estimate.error
    return estimate.value - reach, estimate.value + reach


def positive_interval(estimate: Estimate, confidence: float) -> tuple[float, float]:
    """Of a positive quantity, by its logarithm, which is nearer to normal than itself."""
    if estimate.value <= 0:
        return estimate.value, estimate.value
    low, high = interval(Estimate(math.log(estimate.value), estimate.error / estimate.value), confidence)
    return math.exp(low), math.exp(high)


def squared_interval(estimate: Estimate, p_value: float, confidence: float) -> tuple[float, float]:
    """Of a squared norm without its noise, which is far from normal where it is near zero.

    There the test of zero says whether the interval reaches it.
    """
    low, high = interval(estimate, confidence)
    return 0.0 if p_value > 1 - confidence else max(0.0, low), max(0.0, high)


def _p_value(one: Estimate, other: Estimate) -> float:
    """That positive numbers are equal, two-sided."""
    if one.value <= 0 or other.value <= 0:  # one without any variance is better than one with some
        return 1.0 if one.value == other.value else 0.0
    squares = [(estimate.error / estimate.value) ** 2 for estimate in (one, other)]
    total = sum(squares)
    if total == 0:
        return 1.0 if one.value == other.value else 0.0
    freedom = total**2 / sum(square**2 / (GROUPS - 1) for square in squares)  # Welch 1947
    return float(2 * stats.t.sf(abs(math.log(one.value / other.value)) / math.sqrt(total), freedom))
