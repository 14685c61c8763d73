"""What was measured of one estimator, as it is kept and merged."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from discretegrad.analysis.cosines import Cosines
from discretegrad.analysis.digest import learned
from discretegrad.analysis.estimate import Estimate
from discretegrad.analysis.moments import GROUPS, Moments
from discretegrad.core import Estimator

FEWEST = 2 * GROUPS
"""Replicates for a standard error, at least; twice as many before it is relied on."""


@dataclass
class Record:
    """Of one estimator. Not the numbers that people look at, which are `Comparison.results`."""

    recipe: str
    """The estimator, as it prints itself."""
    unbiased: bool
    """What it says of itself."""
    moments: Moments
    cosines: Cosines
    learned: Tensor
    """The digest of what modules in it held."""
    seeds: set[int]
    """Of the comparisons in which they were drawn."""
    target: int = 0
    """How many replicates there are to be before the precision is looked at again."""
    counts: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Evaluations of f, and their squares, summed over the replicates."""
    seconds: Estimate | None = None
    memory: int | None = None
    """Bytes."""
    stream: list[Tensor] | None = None
    """The random generators' states, to go on from."""

    @classmethod
    def of(cls, estimator: Estimator, sizes: Mapping[str, int], seed: int) -> Record:
        """Nothing yet."""
        new = Moments(sizes), Cosines(sum(sizes.values()))
        return cls(repr(estimator), estimator.unbiased, *new, learned(estimator), {seed})

    def add(self, gradients: Tensor, evaluations: int, truth: Tensor | None, stream: list[Tensor] | None) -> None:
        """Take in replicates `[r, D]`, each of so many evaluations of f; all or nothing, if the user interrupts."""
        with _uninterrupted():
            self.moments.update(gradients)
            self.cosines.update(gradients, truth)
            self.counts[0] += evaluations * len(gradients)
            self.counts[1] += evaluations**2 * len(gradients)
            self.stream = stream

    def merge(self, other: Record) -> None:
        """Take in another run with other seeds; its time, taken elsewhere, only where there is none."""
        self.moments.merge(other.moments)
        self.cosines.merge(other.cosines)
        self.seeds |= other.seeds
        self.counts = [one + another for one, another in zip(self.counts, other.counts, strict=True)]
        self.seconds = other.seconds if self.seconds is None else self.seconds
        self.memory = other.memory if self.memory is None else self.memory

    @property
    def evaluations(self) -> Estimate:
        """Of f, for one gradient."""
        count = self.moments.replicates
        mean = self.counts[0] / count
        spread = max(0.0, self.counts[1] / count - mean**2)
        return Estimate(mean, math.sqrt(spread / (count - 1)), count - 1)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a file."""
        seconds = None if self.seconds is None else tuple(self.seconds)
        return {
            **self.__dict__,
            "moments": self.moments.state(),
            "cosines": self.cosines.state(),
            "seeds": sorted(self.seeds),
            "seconds": seconds,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Record:
        """What `state` was of."""
        seconds = None if state["seconds"] is None else Estimate(*state["seconds"])
        return cls(
            **{
                **state,
                "moments": Moments.of_state(state["moments"]),
                "cosines": Cosines.of_state(state["cosines"]),
                "seeds": set(state["seeds"]),
                "counts": list(state["counts"]),
                "seconds": seconds,
            }
        )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done."""
    handler = signal.getsignal(signal.SIGINT)
    # Only the main thread is interrupted; a handler that Python does not know cannot be put back.
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
