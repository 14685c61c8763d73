"""The work of `compare`: streams of replicates, and when there are enough of them."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from torch import Tensor

from discretegrad.analysis.comparison import Comparison
from discretegrad.analysis.known import sentence
from discretegrad.analysis.moments import GROUPS, Moments
from discretegrad.analysis.record import FEWEST, Record
from discretegrad.analysis.replicator import Replicator, in_turns
from discretegrad.analysis.restore import default_generators
from discretegrad.analysis.sources import Source
from discretegrad.core import Estimator
from discretegrad.estimators import RLOO
from discretegrad.memory import peak

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
        self.records = {
            name: found.records.get(name) or Record.of(estimator, source.sizes, found.seed)
            for name, estimator in candidates.items()
        }
        """Of the candidates as they are now: measuring may change what a module in them holds."""
        self.precision, self.replicates, self.path = precision, replicates, path
        self.disable = None if progress is None else not progress
        self.next_save = time.monotonic()

    def find_truth(self, latent: str, reference: Estimator | None) -> None:
        """The exact gradient, or a long run, measured on where that of a file is not precise enough any more.

        Raises:
            ValueError: where it is not, and the estimator of the file's long run is not here.
        """
        found = self.found
        if found.exact is None and found.long_run is None:
            found.exact = self._enumerated(latent)
        if found.exact is not None:
            return
        before = found.long_run, found.reference
        if found.long_run is None:
            found.reference, estimator = ("reference", reference) if reference is not None else self._cheapest(latent)
            found.long_run = Record.of(estimator, self.source.sizes, found.seed)
        elif self._long_enough(found.long_run):
            found.truth_failure = ""
            return
        else:
            estimator = self._of_recipe(found.long_run.recipe, latent, reference)
        try:
            self._fill(found.long_run, estimator, "the truth", self._wants_longer)
            found.truth_failure = ""
        except Exception as error:
            found.truth_failure = f"{found.reference}: {sentence(error)}"
            found.long_run, found.reference = before  # what a file had is kept

    def _enumerated(self, latent: str) -> Tensor | None:
        try:
            exact = self.source.exact(latent)
        except Exception as error:  # what is wrong with f will be said of each estimator as well
            self.found.note(sentence(error))
            return None
        if exact is not None and not exact.isfinite().all():
            self.found.note(
                "the sum over all values is not finite; look for NaN or infinity in f at values that are hardly drawn."
            )
            return None
        return None if exact is None else exact.cpu()

    def _of_recipe(self, recipe: str, latent: str, reference: Estimator | None) -> Estimator:
        # Whatever it has learned meanwhile: its mean is the same.
        for estimator in (reference, *self.candidates.values(), RLOO(4, latent)):
            if repr(estimator) == recipe:
                assert estimator is not None
                return estimator
        raise ValueError(
            f"{self.path} has a truth that is a long run of {recipe}, and needs more of it for the precision that is "
            "asked for; give it as the reference."
        )

    def _long_enough(self, record: Record) -> bool:
        count = record.moments.replicates
        if count < record.target:
            return False
        return count >= self.replicates or (count >= LONG and self._known(record.moments))

    def _wants_longer(self, record: Record) -> bool:
        """As `_wants_more`, for the long run."""
        if self._long_enough(record):
            return False
        count = record.moments.replicates
        if count >= record.target:  # a look takes as long as some replicates
            record.target = min(self.replicates, max(LONG, count * 5 // 4))
        return True

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
        known, truth = set(self.found.records), self.found.truth
        direction = None if truth is None else truth.gradient
        for name, estimator in self.candidates.items():
            self.found.records[name] = self.records[name]
            try:
                self._fill(self.records[name], estimator, name, self._wants_more, direction)
            except Exception as error:  # whatever a candidate or f stumbles over, the others go on
                self.found.failures[name] = sentence(error)
                if name not in known:  # what a file had is kept
                    del self.found.records[name]
                continue
            self.found.failures.pop(name, None)

    def _fill(
        self,
        record: Record,
        estimator: Estimator,
        name: str,
        wants_more: Callable[[Record], bool],
        direction: Tensor | None = None,
    ) -> None:
        """Add replicates for as long as more are wanted.

        Args:
            record: to which.
            estimator: whose.
            name: of its random numbers, and of the bar.
            wants_more: whether there is more to measure; sets the count at which that is asked again, which is kept
                with what was measured: who goes on from a file draws the same numbers as who was never interrupted.
            direction: the true gradient, if it is known.
        """
        stream = Stream(self.source, estimator, self._seed(name), record.stream)
        while wants_more(record):
            missing = record.target - record.moments.replicates
            with self._bar(missing, name) as move:
                for gradients, evaluations in stream.take(missing):
                    record.add(gradients, evaluations, direction, stream.states)
                    self._save_now_and_then()
                    move(len(gradients))

    def cost(self, rounds: int) -> None:
        """Seconds in turns, and memory, of all candidates if one has no time yet.

        Only times that were taken in turns compare: those that a file has are then dropped.
        """
        records = {name: record for name, record in self.records.items() if name not in self.found.failures}
        if all(record.seconds is not None for record in records.values()):
            return
        calls = [partial(self.source.gradient, self.candidates[name]) for name in records]
        times = in_turns(calls, rounds, self.source.device)
        for record in self.found.records.values():
            record.seconds = None
        for name, call, seconds in zip(records, calls, times, strict=True):
            try:
                if isinstance(seconds, Exception):
                    raise seconds
                records[name].memory = peak(call, self.source.device)
            except Exception as error:  # what was measured before is kept
                self.found.failures[name] = f"while it was timed: {sentence(error)}"
            else:
                records[name].seconds = seconds

    def _wants_more(self, record: Record) -> bool:
        """Whether the variance is not known well enough."""
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

    @contextmanager
    def _bar(self, count: int, name: str) -> Iterator[Callable[[int], object]]:
        if self.disable:
            yield lambda moved: None
            return
        from tqdm import tqdm  # torch alone does without

        with tqdm(total=count, desc=name, unit="", leave=False, disable=self.disable) as bar:
            yield bar.update

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
        if not self.replicator.together:  # not counted: the same size, and so the same numbers, on going on from a file
            self._set_generators()
            self.replicator.next(1)
            if self.replicator.together > 1:
                self.replicator.next(2)
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
        states = self.states or []
        for number, generator in enumerate(self.generators):
            if number < len(states):
                generator.set_state(states[number])
            else:  # at the start, or where the numbers so far are another device's
                generator.manual_seed(self.seed)
