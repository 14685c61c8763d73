"""One training run: the loop, what it records, and how it goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.engine.folder import Folder
from experiments.engine.learning import Learning
from experiments.engine.record import Record
from experiments.engine.stops import Interrupted, Stops
from experiments.engine.task import NotFinite
from experiments.errors import UserError
from experiments.files import write_json


class Run:
    """A task in training.

    Args:
        learning: the task, and what moves it.
        identity: what must not change between the start of a run and its going on, beside what is told here.
    """

    def __init__(self, learning: Learning, identity: dict[str, Any]) -> None:
        self.learning, self.settings = learning, learning.settings
        self.task, self.world = learning.task, learning.world
        self.identity = {"device": self.world.device.type, "processes": self.world.size} | identity
        self.identity |= {f"run.{name}": getattr(self.settings, name) for name in ("batch", "seed", "clip")}
        self.folder = Folder(self.settings.dir)
        self.record = Record(tuple(self.task.measures), self.world)
        self.step = 0
        self.saved = 0
        """The checkpoint's step."""
        self._saved_at = time.monotonic()
        self.result: dict[str, Any] | None = None
        """The last figures, once all steps are done."""
        self.world.every(None)  # nothing is written until all are built

    def start(self, resume: bool | str, described: Mapping[str, bytes]) -> None:
        """Claim the run folder, or take up the run that is in it.

        Args:
            resume: False, True, or "auto": True if the folder holds a run.
            described: files that say what the run is, by their names; they are kept beside the results.

        Raises:
            UserError: rather than overwrite a run, or go on with a different one.
        """
        if self.world.every(self._alone(self.folder.claim, resume))[0]:
            self.load(self.folder.checkpoint)
        else:  # before all else: a folder with a checkpoint can be resumed, whatever else is missing
            self.save()
        self._alone(self.record.write, self.folder.metrics)  # without rows after it
        if self.learning.monitor is not None:
            self.learning.monitor.write()
        self._alone(self.folder.describe, described)

    def train(self) -> None:
        """Train to the last step, recording on the way, and evaluate on all examples.

        Raises:
            UserError: at the step whose values are not finite, or whose files cannot be written; the last checkpoint
                stays.
            Interrupted: after SIGINT or SIGTERM, with a checkpoint at the step reached.
        """
        settings, stopped = self.settings, 0
        hidden = not settings.progress or not self.world.writes
        bar = tqdm(total=settings.steps, initial=self.step, disable=hidden, unit="step", smoothing=0.05)
        with bar, Stops(alone=self.world.size == 1) as stops:
            try:
                while True:
                    # At the head of a step, so that a run which was stopped in an evaluation repeats it.
                    if self.step % settings.log_every == 0 and self.step > self.record.since[0]:
                        self._record(stops, bar)
                    due = self.step in (settings.steps, *settings.keep) or self._due()
                    if self.step > self.saved and (stopped or due):
                        self.save()
                    if stopped:
                        raise Interrupted(self.step, stopped)
                    if self.step == settings.steps:
                        return self._finish(stops)
                    stopped = self.train_step(stops)
                    bar.update()
            except Interrupted as stop:
                if self.step > self.saved:
                    self.save()
                raise Interrupted(self.step, stop.signum) from None

    def train_step(self, stops: Stops | None = None) -> int:
        """One step; the number of the signal that stops the run after it, or 0."""
        start = time.perf_counter()
        try:
            found = self.learning.forward(self.step)
        except NotFinite as error:
            raise UserError(
                f"{error} is not finite at step {self.step + 1}; lower the learning rate (optimizer.lr) or look "
                f"at the data ({self.folder.checkpoint} holds step {self.saved})."
            ) from error
        caught = 0 if stops is None else stops.caught or 0  # once: a signal after this line waits for the next step
        stopped = self.learning.backward(found, self.step, bool(caught))
        self.record.add(found.shown)
        self.record.seconds += time.perf_counter() - start  # evaluations and checkpoints are no part of it
        self.step += 1
        return max(self.world.every(caught)) if stopped else 0

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            UserError: where it cannot be written; the one before stays.
        """
        own = {"generator": self.learning.generator.get_state(), "sums": self.record.sums}
        state = {"identity": self.identity, "step": self.step, "record": self.record.state_dict()}
        state |= {"processes": self.world.every(own)} | self.learning.state_dict()
        self._alone(self.folder.save, state, self.step in self.settings.keep)
        self.saved, self._saved_at = self.step, time.monotonic()

    def load(self, path: Path) -> None:
        """Take up the state of a checkpoint of this run.

        Raises:
            UserError: where it cannot be read, or is of another run.
        """
        state = self.folder.load(path, self.identity, self.world.device)
        if state["step"] > self.settings.steps:
            raise UserError(f"{self.folder.path} holds {state['step']} steps already; give run.steps of at least that.")
        own = state["processes"][self.world.rank]
        self.learning.load_state_dict(state)
        self.learning.generator.set_state(own["generator"].cpu())
        self.record.load_state_dict(state["record"], own["sums"])
        self.step = self.saved = state["step"]

    def _due(self) -> bool:
        """Whether a checkpoint is due: by steps, or by the first process's clock, which is read with each row."""
        minutes = self.settings.checkpoint_minutes
        if minutes is None:
            return self.step == self.saved + self.settings.checkpoint_every
        if self.step % self.settings.log_every or self.step == self.saved:
            return False
        return bool(self.world.every(time.monotonic() >= self._saved_at + 60 * minutes)[0])

    def _record(self, stops: Stops, bar: tqdm[Any]) -> None:
        measured, every = dict(self.task.noted()), self.settings.evaluate_every
        if self.step // every > self.record.since[0] // every:  # in the first row at or after its turn
            measured |= self._evaluate(self.settings.evaluate_most, stops)
        self.record.close(self.step, measured)
        row = self.record.rows[-1]
        shown = next((name for name in self.task.measures if row[name] is not None), "step")
        bar.set_postfix({shown: f"{row[shown]:.4g}"}, refresh=False)
        self._alone(self.record.write, self.folder.metrics)

    def _evaluate(self, most: int | None, stops: Stops) -> dict[str, float]:
        self.task.eval()
        try:
            with stops.at_once():
                return self.task.evaluate(most)
        finally:
            self.task.train()

    def _finish(self, stops: Stops) -> None:
        if self.step > self.record.since[0]:  # not kept in the checkpoint: a longer run has its rows elsewhere
            self.record.close(self.step, self.task.noted())
        self._alone(self.record.write, self.folder.metrics)
        self.result = self.record.rows[-1] | self._evaluate(None, stops)
        self._alone(write_json, self.folder.path / "result.json", self.result)

    def _alone(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Let one process do it; the others have None of it."""
        try:
            return work(*arguments) if self.world.writes else None
        except OSError as error:
            raise UserError(
                f"the run's folder cannot be written ({error}); free space or mend its rights, then go on by "
                f"resume=auto: its checkpoint, if there is one, holds step {self.saved}. Or name another run.dir."
            ) from error
