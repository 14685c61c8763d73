"""Whether what was to be shown is shown: one figure beside another, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from experiments.collect.groups import Mean, mean
from experiments.studies import page

BySeed = Mapping[str, float]


class Claim(NamedTuple):
    """A comparison, and whether it came out as the aim has it."""

    aim: str
    found: str
    """In hundredths, with its standard error over seeds."""
    holds: str


def at_least(aim: str, one: BySeed, other: BySeed, times: float) -> Iterator[Claim]:
    """That one figure is at least so many times another, in the mean over the seeds that have both; else nothing."""
    if margin := _paired(one, other, times):
        below = sum(other[seed] for seed in one if seed in other)
        ratio = f"{sum(one[seed] for seed in one if seed in other) / below:.2f} times" if below else "over nothing"
        found = f"{ratio}, {page.with_error(margin)} above {times:g} times"
        yield Claim(f"{aim}, at least {times:g} times", found, _said(margin.mean >= 0 and any(one.values())))


def within(aim: str, one: BySeed, other: BySeed, points: float) -> Iterator[Claim]:
    """That two figures differ by so much at most, likewise."""
    if apart := _paired(one, other):
        found = f"{page.with_error(apart)} above"
        yield Claim(f"{aim}, within {100 * points:g}", found, _said(abs(apart.mean) <= points))


def above(aim: str, one: BySeed, other: BySeed, points: float) -> Iterator[Claim]:
    """That one figure is so much above another, where the seeds of the two have nothing in common."""
    if one and other:
        first, second = mean([*one.values()]), mean([*other.values()])
        error = None if first.error is None or second.error is None else (first.error**2 + second.error**2) ** 0.5
        apart = Mean(first.mean - second.mean, error, min(first.seeds, second.seeds))
        yield Claim(
            f"{aim}, at least {100 * points:g} above", f"{page.with_error(apart)} above", _said(apart.mean >= points)
        )


def _paired(one: BySeed, other: BySeed, times: float = 1.0) -> Mean | None:
    both = sorted(one.keys() & other.keys())
    return mean([one[seed] - times * other[seed] for seed in both]) if both else None


def _said(holds: bool) -> str:
    return "yes" if holds else "no"
