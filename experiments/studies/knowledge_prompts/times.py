"""What a step costs with many entities: a memory's look-up, gradient and update, beside those with few."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from experiments.systems.knowledge_prompts.memory import Prompts

ENTITIES = (1_000, 30_000)
BATCH, LENGTH, WIDTH = 64, 4, 128
ROUNDS, WARM_UP = 15, 3


class Timed:
    """A memory that is trained by a loss that costs next to nothing, so that its own cost is what is measured.

    Args:
        entities: rows of the table.
        sparse: whether its gradients are; the comparison is a dense table and Adam.
    """

    def __init__(self, entities: int, sparse: bool) -> None:
        self.memory = Prompts(entities, LENGTH, WIDTH, 1.0)
        self.memory.table.sparse = sparse
        maker = torch.optim.SparseAdam if sparse else torch.optim.Adam
        self.optimizer = maker(self.memory.parameters(), lr=0.1)
        self.entities = entities
        self.seconds: list[float] = []

    def step(self, generator: torch.Generator) -> None:
        """One step, whose seconds are kept."""
        rows = torch.randint(self.entities, (BATCH,), generator=generator)
        start = time.perf_counter()
        self.optimizer.zero_grad()
        self.memory(rows).square().mean().backward()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)


def ratios(entities: Sequence[int] = ENTITIES, rounds: int = ROUNDS) -> dict[tuple[str, int], float]:
    """Seconds of a step over those of the smallest sparse table, in the median of steps that take turns."""
    generator = torch.Generator().manual_seed(0)
    timed = {(name, count): Timed(count, name == "sparse") for name in ("sparse", "dense") for count in entities}
    for _ in range(WARM_UP + rounds):
        for each in timed.values():
            each.step(generator)
    medians = {key: statistics.median(each.seconds[WARM_UP:]) for key, each in timed.items()}
    return {key: median / medians["sparse", entities[0]] for key, median in medians.items()}
