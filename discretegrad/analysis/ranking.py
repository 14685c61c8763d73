"""Who is better than whom, with an error rate for all such claims together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

from discretegrad.analysis.estimate import Estimate, p_value

CRITERIA = ("variance", "mse", "variance_evaluations", "variance_time")


@dataclass(frozen=True)
class Ranking:
    """Estimators by one number, of which less is better.

    "A beats B" is claimed where `p_value` says that they differ; Holm's correction over all pairs keeps the probability
    of any false claim at `1 - confidence` at most, as far as the errors are those of normal estimates. Numbers that are
    exactly zero, without an error, beat all positive ones.
    """

    criterion: str
    numbers: dict[str, Estimate]
    """What is compared, in ascending order."""
    confidence: float
    claims: frozenset[tuple[str, str]]
    """Pairs of which the first beats the second."""
    average: int = 1
    """By "mse": of how many estimates the mean is judged."""

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

    def without(self, names: Collection[str]) -> Ranking:
        """The same of the others alone."""
        others = {name: number for name, number in self.numbers.items() if name not in names}
        return rank(self.criterion, others, self.confidence, self.average)

    def __str__(self) -> str:
        width = max((len(name) for name in self.numbers), default=0)
        of = f" of the mean of {self.average}" if self.average > 1 else ""
        lines = [
            f"{self.criterion}{of}, less is better; all claims together hold with {self.confidence:.0%} confidence"
        ]
        for name, (first, last) in self.ranks.items():
            place = str(first) if first == last else f"{first}-{last}"
            number = self.numbers[name]
            lines.append(f"{place:>5}  {name:<{width}}  {number.value:.4g} +- {number.error:.1g}")
        return "\n".join(lines)


def refuse_unknown(criterion: str) -> None:
    """Refuse what nothing is ranked by."""
    if criterion not in CRITERIA:
        raise ValueError(f"criterion is one of {', '.join(map(repr, CRITERIA))}, not {criterion!r}.")


def rank(criterion: str, numbers: Mapping[str, Estimate], confidence: float, average: int = 1) -> Ranking:
    """Compare all pairs of independent estimates."""
    pairs = sorted((_equal(numbers[one], numbers[other]), one, other) for one, other in combinations(numbers, 2))
    claims = set()
    for place, (probability, one, other) in enumerate(pairs):
        if probability > (1 - confidence) / (len(pairs) - place):  # Holm 1979: nor are any of those that follow
            break
        claims.add((one, other) if numbers[one].value < numbers[other].value else (other, one))
    ordered = dict(sorted(numbers.items(), key=lambda item: item[1].value))
    return Ranking(criterion, ordered, confidence, frozenset(claims), average)


def _equal(one: Estimate, other: Estimate) -> float:
    """The p-value, of numbers that are never negative."""
    for zero, rest in ((one, other), (other, one)):
        if zero.value == zero.error == 0 and rest.value > 0:
            return 0.0
    return p_value(one, other)
