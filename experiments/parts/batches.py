"""Which examples a step takes."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.engine import World
from experiments.errors import UserError


class Shuffled:
    """Every epoch all examples once, in an order of its own; the processes take parts of each step that do not overlap.

    Args:
        count: of examples.
        size: of a batch, in each process.
        seed: of the order.
        world: the processes.

    Raises:
        UserError: where one step would take more examples than there are.
    """

    def __init__(self, count: int, size: int, seed: int, world: World) -> None:
        if size * world.size > count:
            processes = f" in each of {world.size} processes" if world.size > 1 else ""
            raise UserError(f"run.batch={size}{processes} is more than the {count} training examples.")
        self.count, self.size, self.seed, self.world = count, size, seed, world
        self._order: tuple[int, Tensor] | None = None

    def __call__(self, step: int) -> Tensor:
        """The indices `[size]` of the step's examples, on the process's device."""
        together = self.size * self.world.size
        epoch, position = divmod(step, self.count // together)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._order = (epoch, torch.randperm(self.count, generator=generator).to(self.world.device))
        start = position * together + self.world.rank * self.size
        return self._order[1][start : start + self.size]
