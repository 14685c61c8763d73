"""A share of the time of something else."""

from __future__ import annotations

from collections.abc import Callable


class Budget:
    """Every moment belongs to the steps or to the measurements, and these may take a share of what those took.

    Args:
        share: of the steps' time.
        clock: seconds, never going back.
    """

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        self.share, self.clock = share, clock
        self.steps = 0.0
        """Seconds that the steps took."""
        self.own = 0.0
        """Seconds that measurements took."""
        self.waived = 0.0
        """Seconds that measurements could have taken."""
        self._mark: float | None = None

    @property
    def left(self) -> float:
        """Seconds that may be spent now; what runs since the last call of the two below is a measurement."""
        running = 0.0 if self._mark is None else self.clock() - self._mark
        return self.share * self.steps - self.own - self.waived - running

    def charge_steps(self) -> None:
        """The time since the last call of this or the other was the steps'; before the first, nobody's."""
        self.steps += self._lap()

    def charge_own(self) -> None:
        """It was a measurement's."""
        self.own += self._lap()

    def waive(self) -> None:
        """Keep no savings: a long pause must not be followed by many measurements."""
        self.waived += max(0.0, self.left)

    def state_dict(self) -> dict[str, float]:
        """For a checkpoint; the time between two runs is nobody's."""
        return {"steps": self.steps, "own": self.own, "waived": self.waived}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """From a checkpoint."""
        self.steps, self.own, self.waived = state["steps"], state["own"], state["waived"]
        self._mark = None

    def _lap(self) -> float:
        now = self.clock()
        lap = 0.0 if self._mark is None else now - self._mark
        self._mark = now
        return lap
