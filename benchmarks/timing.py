"""Times that can be compared on a machine that others use too: taken in turns, compared round by round.

A round runs everything that is compared once, one after the other. What a machine does besides comes and goes over many
rounds, so it touches both sides of the ratio within a round alike, and the median over the rounds forgets the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.sizes import FEWEST, MOST, SECONDS
from discretegrad.analysis.replicator import keep_freed_memory

Row = dict[str, Any]
WARMUPS = 2


class Median(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float


def median(values: Sequence[float], resamples: int = 1000) -> Median:
    """The median, and the standard deviation of the medians of bootstrap resamples."""
    data = torch.tensor(values, dtype=torch.float64)
    chosen = torch.randint(len(data), (resamples, len(data)), generator=torch.Generator().manual_seed(0))
    return Median(float(data.quantile(0.5)), float(data[chosen].quantile(0.5, dim=1).std()))


def ratio(above: Sequence[float], below: Sequence[float]) -> Median:
    """The median of the rounds' ratios."""
    return median([a / b for a, b in zip(above, below, strict=True)])


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def rounds_within(budget: float, most: int, turn: Callable[[], object]) -> int:
    """How many rounds the budget of seconds allows; runs a few, or one if that takes longer, to warm up and to see.

    Both sides of a ratio have a malloc that keeps what they free: by itself it does so or not, for no reason of theirs.
    """
    keep_freed_memory()
    for _ in range(WARMUPS):
        seconds = timed(turn)
        if seconds > budget:
            break
    return max(FEWEST, min(most, int(budget / seconds)))


def in_turns(
    timers: Mapping[str, Callable[[], float]], budget: float = SECONDS, most: int = MOST
) -> dict[str, list[float]]:
    """Every timer once a round; the seconds that they return, by name.

    Args:
        timers: each runs what it times once, and returns the seconds.
        budget: seconds that all rounds may take together.
        most: the most rounds.
    """
    rounds = rounds_within(budget, most, lambda: [timer() for timer in timers.values()])
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            seconds[name].append(timer())
    return seconds


def beside(
    benchmark: Any, runs: Mapping[str, Callable[[], object]], budget: float = SECONDS, most: int = MOST
) -> dict[str, list[float]]:
    """`in_turns` for pytest-benchmark: it times the first of `runs`, and before each of its rounds the others are.

    Returns:
        The seconds of all, by name; nothing under --benchmark-disable, where each runs once.
    """
    (name, first), *others = runs.items()
    seconds: dict[str, list[float]] = {other: [] for other, _ in others}

    def the_others() -> None:
        for other, run in others:
            seconds[other].append(timed(run))

    if benchmark.disabled:
        benchmark.pedantic(first, setup=the_others)
        return {}
    rounds = rounds_within(budget, most, lambda: [run() for run in runs.values()])
    benchmark.pedantic(first, setup=the_others, rounds=rounds)
    # With --benchmark-cprofile there is one round more, which is not timed.
    return {name: list(benchmark.stats.stats.data), **{other: taken[:rounds] for other, taken in seconds.items()}}


def time_rows(case: Row, seconds: Mapping[str, Sequence[float]], over: Sequence[str] = ()) -> list[Row]:
    """Rows of the results: the median time of each implementation, and its ratio to each of those in `over`.

    Of two that are both in `over` only the later one's ratio to the earlier is given.
    """
    rows = []
    for name, taken in seconds.items():
        own = {**case, "implementation": name, "rounds": len(taken)}
        rows.append({**own, "metric": "time", "unit": "s", **median(taken)._asdict()})
        for number, base in enumerate(over):
            if name not in over[: number + 1]:
                rows.append({**own, "metric": f"time / {base}", "unit": "1", **ratio(taken, seconds[base])._asdict()})
    return rows


def report(benchmark: Any, rows: Sequence[Row]) -> None:
    """Hand rows to `benchmarks.results`, by way of pytest-benchmark's JSON; ratios show in its table too."""
    benchmark.extra_info["rows"] = list(rows)
    for row in rows:
        if row["unit"] == "1":
            benchmark.extra_info[f"{row['implementation']}: {row['metric']}"] = round(row["value"], 3)
