"""Seconds of a step, as ratios inside one process."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from experiments.files import write_table
from experiments.studies.beyond_reinmax.runs import BIASED, Trial, composed
from experiments.studies.trials import read
from experiments.train import build

TIMES = "beyond_reinmax_times.csv"
"""In docs/."""
COLUMNS = ("method", "size", "time")


def measure(sizes: Sequence[str], methods: Sequence[str], rounds: int, path: Path) -> None:
    """Write the time of a training step over that of ReinMax, of these methods and of theirs with one sample.

    The runs take turns, three steps each, on one thread of a CPU; the time is the processor's, and the median over the
    rounds of the ratio within a round, so that it hardly matters what else the machine does. The optimiser is Adam for
    all: the ratio is the estimator's.
    """
    torch.set_num_threads(1)
    kept = {(line["size"], line["method"]): line for line in read(path)}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            runs = {
                method: build(composed(trial, ["data=mnist_subset", "device=cpu"], Path(folder)))
                for method in dict.fromkeys([*BIASED, *methods])
                for trial in [Trial("times", method, size, 0, "Adam", 5e-4)]
            }
            spent: dict[str, list[float]] = {method: [] for method in runs}
            for _ in range(rounds + 1):
                for method, run in runs.items():
                    start = time.process_time()
                    for _ in range(3):
                        run.train_step()
                    spent[method].append(time.process_time() - start)
        for method, seconds in spent.items():
            ratio = statistics.median(a / b for a, b in zip(seconds[1:], spent["reinmax"][1:], strict=True))
            kept[size, method] = {"method": method, "size": size, "time": f"{ratio:.3f}"}
    write_table(path, COLUMNS, [kept[key] for key in sorted(kept)])
