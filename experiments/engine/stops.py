"""How a run is stopped: not in the middle of a step."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and left a checkpoint. No Exception, so that it also ends a sweep."""

    def __init__(self, step: int | None, signum: int) -> None:
        super().__init__(step, signum)
        self.step, self.signum = step, signum


class Stops(contextlib.ExitStack):
    """Notes SIGINT and SIGTERM instead of dying in the middle of a step; a second one is obeyed at once.

    Args:
        alone: False where `torchrun` stops this process along with others: it sends a second signal of its own, while
            the first is being obeyed, and kills what takes too long.
    """

    def __init__(self, alone: bool = True) -> None:
        super().__init__()
        self.alone = alone
        self.caught: int | None = None
        self._now = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in NUMBERS:
            self._previous[number] = signal.signal(number, self._note)
            self.callback(signal.signal, number, self._previous[number])
        return self

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Obey within, also what came before: for what takes long and changes nothing.

        Raises:
            Interrupted: without a step.
        """
        self._now = self.alone
        try:
            if self._now and self.caught is not None:
                raise Interrupted(None, self.caught)
            yield
        finally:
            self._now = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.caught = number
        if self.alone:
            signal.signal(number, self._previous[number])
        if self._now:
            raise Interrupted(None, number)
