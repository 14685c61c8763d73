"""What one step does to a task: forward, backward, the optimisers, and those who watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from experiments.engine.settings import Settings
from experiments.engine.task import Step, Task, finite
from experiments.engine.world import World, seed_globally
from experiments.errors import UserError

if TYPE_CHECKING:  # takes scipy with it
    from discretegrad.analysis import Monitor

Optimizers = Mapping[str, Callable[[Any], torch.optim.Optimizer]]
Schedule = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


class Learning:
    """A task, its optimisers, and the noise of this process.

    Args:
        settings: see there.
        task: the system.
        optimizers: by name, made with the parameters that they move; the task's `groups` has the names.
        schedule: makes the scheduler of an optimiser's learning rate, stepped after it; None: the rates stay.
        world: the processes that train it.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self, settings: Settings, task: Task, optimizers: Optimizers, schedule: Schedule | None, world: World
    ) -> None:
        self.settings, self.task, self.world = settings, task, world
        task.to(world.device).begin(settings, world)
        self._rehearse()
        world.follow([*task.parameters(), *task.buffers()])  # whatever they were made from
        self.generator = world.apart(torch.Generator(world.device).manual_seed(settings.seed))
        self.optimizers = self._optimizers(optimizers)
        self.schedules = [schedule(optimizer) for optimizer in self.optimizers.values()] if schedule else []
        self.monitor = self._monitor()

    def forward(self, step: int) -> Step:
        """The loss of the batch of a step.

        Raises:
            NotFinite: with the term's name.
        """
        seed_globally(self.world.device, self.settings.seed, step, self.world.rank)
        self._before = self._marks()
        found: Step = self.task(self.task.batch(step), self.generator)
        finite({"loss": found.loss, **found.shown})
        return found

    def backward(self, found: Step, step: int, stopped: bool = False) -> bool:
        """Move all that learns; whether any process was stopped."""
        self.task.zero_grad()
        (found.loss / self.world.size if self.world.size > 1 else found.loss).backward()
        stopped = self._average(stopped)
        if self.monitor is not None and (watch := self.task.watched()):
            estimator, f, logits, context, on = watch
            self.monitor.after(estimator, f, logits, step=step + 1, context=context, on=on)
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.task.parameters(), self.settings.clip)
        for optimizer in self.optimizers.values():
            optimizer.step()
        for schedule in self.schedules:
            schedule.step()
        self.task.after()
        moved = [buffer for mark, buffer in self._marks().items() if mark not in self._before]
        for buffer, total in zip(moved, self.world.sum(moved), strict=True):
            buffer.copy_(total / self.world.size)
        return stopped

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint, but for the generators, of which every process has its own."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint; a monitor or a schedule that it lacks begins anew."""
        for name, part in self._parts().items():
            if name in state:
                part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        """All that has a state, by its name in the checkpoint."""
        parts: dict[str, Any] = {"task": self.task} | ({} if self.monitor is None else {"monitor": self.monitor})
        parts |= {f"optimizers.{name}": optimizer for name, optimizer in self.optimizers.items()}
        return parts | {f"schedules.{index}": schedule for index, schedule in enumerate(self.schedules)}

    def _average(self, stopped: bool) -> bool:
        """Sum all gradients over the processes, in one exchange all that are dense; whether any was stopped."""
        if self.world.size == 1:
            return stopped
        tables = {id(module.weight) for module in self.task.modules() if getattr(module, "sparse", False)}
        learning = [parameter for parameter in self.task.parameters() if parameter.requires_grad]
        dense = [parameter for parameter in learning if id(parameter) not in tables]
        flags = torch.tensor([*(p.grad is not None for p in dense), stopped], device=self.world.device).float()
        *gradients, flags = self.world.sum([*(torch.zeros_like(p) if p.grad is None else p.grad for p in dense), flags])
        *found, stopped = flags.bool().tolist()
        for parameter, gradient, anywhere in zip(dense, gradients, found, strict=True):
            parameter.grad = gradient if anywhere else None  # as in one process: an optimiser skips it
        for table in (parameter for parameter in learning if id(parameter) in tables):
            table.grad = self.world.sum_rows(torch.zeros_like(table) if table.grad is None else table.grad)
        return stopped

    def _marks(self) -> dict[tuple[int, int], Tensor]:
        """Statistics by what changes when they do: those of all processes are averaged."""
        if self.world.size == 1:
            return {}
        marks = {}
        for module in self.task.modules():
            # Torch moves the statistics of batch normalisation without counting it; what it counts are the batches.
            batches = module.num_batches_tracked if isinstance(module, nn.modules.batchnorm._BatchNorm) else None
            for buffer in module.buffers(recurse=False):
                if buffer.is_floating_point():
                    marks[id(buffer), (buffer if batches is None else batches)._version] = buffer
        return marks

    def _rehearse(self) -> None:
        """One forward pass: what the task refuses is refused now, and lazy layers get their shapes."""
        before = {name: b.clone() for name, b in self.task.named_buffers() if not nn.parameter.is_lazy(b)}
        found = self.task(self.task.batch(0), torch.Generator(self.world.device))
        unknown = found.shown.keys() - self.task.measures.keys()
        if unknown:
            raise ValueError(f"{type(self.task).__name__}.measures lacks {', '.join(sorted(unknown))}, which it shows.")
        with torch.no_grad():
            for name, values in before.items():
                self.task.get_buffer(name).copy_(values)

    def _optimizers(self, makers: Optimizers) -> dict[str, torch.optim.Optimizer]:
        groups = {name: parameters for name, parameters in self.task.groups().items() if parameters}
        missing = sorted(groups.keys() - makers.keys())
        if missing:
            raise UserError(f"the configuration has no {missing[0]}, which {self.task.title} needs; give it one.")
        return {name: makers[name](parameters) for name, parameters in groups.items()}

    def _monitor(self) -> Monitor | None:
        if self.settings.monitor_share is None:
            return None
        if self.world.size > 1:
            raise UserError("run.monitor_share measures in one process only; leave it out.")
        if self.task.watched() is None:
            raise UserError(f"{self.task.title} has nothing that a monitor measures; leave run.monitor_share out.")
        from discretegrad.analysis import Monitor

        return Monitor(self.settings.monitor_share, path=Path(self.settings.dir) / "monitor.csv")
