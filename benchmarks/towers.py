"""`python -m benchmarks.towers`: a training step of a dual encoder whose batch is encoded in groups of like length.

Each size of the groups takes turns with the whole batch, on the same pairs of WordNet. The table has medians over
the rounds, and their standard errors. One thread, and times of the processor instead of the clock.
"""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.cells import of_processor
from benchmarks.sizes import SECONDS, SMALL
from benchmarks.timing import in_turns, median, ratio
from experiments.parts import towers
from experiments.studies.trials import composed
from experiments.train import build

GROUPS = (192, 96, 48, 24)  # texts
SETTINGS = ["experiment=dual_encoders", "model.start=null", "model.variant=ade", "run.progress=false", "device=cpu"]
SMALLEST = ["data.pairs=50", "data.held_out=10", "run.batch=10", "task.vocabulary=300"]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    task = build(composed([*SETTINGS, *(SMALLEST if SMALL else [])])).task.train()
    batch, generator = task.batch(0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(task.parameters(), fused=True)

    def step(group: int) -> None:
        towers.GROUP = group
        optimizer.zero_grad()
        task(batch, generator).loss.backward()
        optimizer.step()

    taken = in_turns({str(each): partial(of_processor, partial(step, each)) for each in GROUPS}, 10 * SECONDS)
    print("| texts of a group | step, ms | over the whole batch |", "| ---: |" + " ---: |" * 2, sep="\n")
    for name, times in taken.items():
        over = ratio(times, taken[str(GROUPS[0])])
        print(f"| {name} | {median(times).value * 1e3:.1f} | {over.value:.3f} +- {over.error:.3f} |")


if __name__ == "__main__":
    main()
