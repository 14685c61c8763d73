"""The work of `compare`: streams of replicates, and when there are enough of them."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from discretegrad.analysis.comparison import Comparison
from discretegrad.analysis.memory import peak
from discretegrad.analysis.record import Record
from discretegrad.analysis.sources import Source
from discretegrad.core import Estimator
from discretegrad.estimators import RLOO
from discretegrad.known import sentence
from discretegrad.measure import Replicator, in_turns
from discretegrad.moments import GROUPS, Moments, Truth
from discretegrad.restore import default_generators

FEWEST = 2 * GROUPS
"""Replicates for a standard error, at least; twice as many before it is relied on."""
PILOT = 64
"""Replicates of each candidate for the long run."""
LONG = 512
"""Replicates of a long run, at least, where more are allowed."""


class Measuring:
    """The work of one call of `compare`, which fills its comparison."""

    def __init__(
        self,
        source: Source,
        found: Comparison,
        candidates: dict[str, Estimator],
        precision: float,
        replicates: int,
        path: str | Path | None,
        progress: bool | None,
    ) -> None:
        self.source, self.found, self.candidates = source, found, candidates
        self.precision, self.replicates, self.path = precision, replicates, path
        self.disable = None if progress is None else not progress
        self.next_save = time.monotonic()

    def find_truth(self, latent: str, reference: Estimator | None) -> None:
        """The exact gradient, or a long run."""
        if self.found.truth is not None:
            return
        try:
            exact = self.source.exact(latent)
        except Exception as error:  # what is wrong with f will be said of each estimator as well
            self.found.notes.append(sentence(error))
            exact = None
        if exact is not None and not exact.isfinite().all():
            self.found.notes.append(
                "the sum over all values is not finite; look for NaN or infinity in f at values that are hardly drawn."
            )
            exact = None
        if exact is not None:
            self.found.truth_name, self.found.truth = "enumeration", Truth(exact.cpu())
            return
        name, estimator = ("reference", reference) if reference is not None else self._cheapest(latent)
        stream = Stream(self.source, estimator, self._seed("the truth"))
        moments, due = Moments(self.source.sizes), LONG
        try:
            for gradients, _ in self._bar(stream, self.replicates, f"truth ({name})"):
                moments.update(gradients)
                if moments.replicates >= due:
                    if self._known(moments):
                        break
                    due = moments.replicates * 5 // 4  # a look takes as long as some replicates
        except Exception as error:
            self.found.notes.append(f"there is no truth to compare with: {name}: {sentence(error)}")
            return
        self.found.truth_name = f"{moments.replicates} replicates of {name}"
        self.found.truth = Truth(moments.average(), moments)  # last: with it the search is over, also in a file

    def _known(self, moments: Moments) -> bool:
        """Whether the mean's noise is far below the precision that is asked of a variance."""
        found = moments.summary()
        noise = found.variance.value / moments.replicates
        return noise <= (self.precision / 10) ** 2 * max(found.norm2.value, 0.0)

    def _cheapest(self, latent: str) -> tuple[str, Estimator]:
        """The unbiased candidate with the least variance times evaluations in a short pilot.

        Not times seconds: the same seed must give the same truth on a busy machine.
        """
        best: tuple[str, Estimator] = ("RLOO(4)", RLOO(4, latent))
        least = math.inf
        for name, estimator in self.candidates.items():
            if not estimator.unbiased:
                continue
            moments, evaluations = Moments(self.source.sizes), 0
            try:
                for gradients, each in Stream(self.source, estimator, self._seed("pilot " + name)).take(PILOT):
                    moments.update(gradients)
                    evaluations += each * len(gradients)
            except Exception:  # said when it is measured
                continue
            loss = moments.summary().variance.value * evaluations
            if loss < least:
                best, least = (name, estimator), loss
        return best

    def measure(self) -> None:
        """All candidates, one after the other."""
        truth = None if self.found.truth is None else self.found.truth.gradient
        known = set(self.found.records)
        for name, estimator in self.candidates.items():
            record = self.found.records.get(name) or Record.of(estimator, self.source.sizes)
            stream = Stream(self.source, estimator, self._seed(name), record.stream)
            try:
                while self._wants_more(record):
                    missing = record.target - record.moments.replicates
                    for gradients, evaluations in self._bar(stream, missing, name):
                        record.add(gradients, evaluations, truth, stream.states)
                        self.found.records[name] = record
                        self._save_now_and_then()
            except Exception as error:  # whatever a candidate or f stumbles over, the others go on
                self.found.failures[name] = sentence(error)
                if name not in known:  # what a file had is kept
                    self.found.records.pop(name, None)
                continue
            self.found.failures.pop(name, None)

    def cost(self, rounds: int) -> None:
        """Seconds in turns, and memory; only of those that have none yet."""
        waiting = [name for name, record in self.found.records.items() if record.seconds is None]
        waiting = [name for name in waiting if name in self.candidates]
        calls = [partial(self.source.gradient, self.candidates[name]) for name in waiting]
        for name, call, seconds in zip(waiting, calls, in_turns(calls, rounds, self.source.device), strict=True):
            record = self.found.records[name]
            try:
                if isinstance(seconds, Exception):
                    raise seconds
                record.memory = peak(call, self.source.device)
            except Exception as error:  # what was measured before is kept
                self.found.failures[name] = f"while it was timed: {sentence(error)}"
            else:
                record.seconds = seconds

    def _wants_more(self, record: Record) -> bool:
        """Whether there is more to measure, and sets the count at which that is asked again.

        The count is kept with what was measured: who goes on from a file draws the same numbers as who was never
        interrupted.
        """
        count = record.moments.replicates
        if count < record.target:
            return True
        if count < 2 * FEWEST and count < self.replicates:
            record.target = min(2 * FEWEST, self.replicates)
            return True
        variance = record.moments.summary().variance
        if count >= self.replicates or variance.error <= self.precision * variance.value:
            return False
        # Somewhat more than should do: every further look is a chance to stop at an error that happens to look small.
        wanted = 1.5 * count * (variance.error / (self.precision * variance.value)) ** 2
        record.target = int(max(count + GROUPS, min(self.replicates, 8 * count, wanted)))
        return True

    def _bar(self, stream: Stream, count: int, name: str) -> Iterator[tuple[Tensor, int]]:
        with tqdm(total=count, desc=name, unit="", leave=False, disable=self.disable) as bar:
            for gradients, evaluations in stream.take(count):
                yield gradients, evaluations
                bar.update(len(gradients))

    def _save_now_and_then(self) -> None:
        start = time.monotonic()
        if self.path is not None and start > self.next_save:
            self.found.save(self.path)
            self.next_save = time.monotonic() + 20 * (time.monotonic() - start)

    def _seed(self, name: str) -> int:
        return (self.found.seed * 0x9E3779B1 + zlib.crc32(name.encode())) % 2**63


class Stream:
    """Replicates of one estimator with random numbers of their own, which can be taken up where they were left.

    The numbers are those of the default generators, which are left wherever they are then.
    """

    def __init__(self, source: Source, estimator: Estimator, seed: int, states: list[Tensor] | None = None) -> None:
        self.replicator, self.generators = Replicator(source, estimator), default_generators(source.device)
        self.states, self.seed = states, seed
        """Of the random generators; None at the start."""

    def take(self, count: int) -> Iterator[tuple[Tensor, int]]:
        """Gradients `[r, D]` on the CPU until there are `count`, and the evaluations of f for one of them."""
        if self.replicator.size is None:  # not counted: the same size, and so the same numbers, on going on from a file
            self._set_generators()
            self.replicator.find_size()
        done = 0
        while done < count:
            self._set_generators()
            found = self.replicator.next(count - done)
            self.states = [generator.get_state() for generator in self.generators]
            # The sum is the quicker look.
            if not (math.isfinite(found.gradients.sum()) or found.gradients.isfinite().all()):
                raise ValueError(
                    f"its gradients, {found.gradients.shape[1]} entries, are not finite; look for NaN or infinity in "
                    "the values of f."
                )
            done += len(found.gradients)
            yield found.gradients.cpu(), found.evaluations

    def _set_generators(self) -> None:
        for number, generator in enumerate(self.generators):
            if self.states is None:
                generator.manual_seed(self.seed)
            else:
                generator.set_state(self.states[number])
