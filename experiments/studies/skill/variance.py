"""The variance of each estimator of a path's gradient, at stages of one training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from discretegrad import analysis
from experiments.files import write_table
from experiments.studies.page import digits
from experiments.studies.skill.runs import CEILING, METHODS
from experiments.studies.trials import composed
from experiments.systems.skill import PathTask
from experiments.train import build

ROWS = "skill_variance.csv"
"""In docs/."""
STAGES = {"start": 0, "half way": 150, "most found": 400}
"""Steps of a training with RLOO(8)."""
COLUMNS = ("stage", "step", "method", "evaluations", "variance", "variance_se", "bias_p_value")
REPLICATES = 400


def measure(out: Path, arguments: Sequence[str]) -> None:
    """Train to each stage and compare there; write the rows."""
    base = ["system=skill", "run.dir=unused", "run.progress=false", *METHODS["RLOO(8)"], *arguments]
    run = build(composed(base))
    rows, step = [], 0
    for stage, steps in STAGES.items():
        for number in range(step, steps):
            run.learning.backward(run.learning.forward(number), number)
        step = steps
        task: Any = run.task
        rows += [{"stage": stage, "step": step} | row for row in _compared(task.eval(), arguments)]
        task.train()
        write_table(out / ROWS, COLUMNS, rows)
        print(stage, *(f"{row['method']}={row['variance']}" for row in rows if row["stage"] == stage), flush=True)


def _compared(task: PathTask, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """A row an estimator, on questions of one batch."""
    questions = task.train_questions.take(task.batch(0))
    logits = task.model(task.reader.columns[0].take(questions.form)).detach().double()
    candidates = {
        method: instantiate(composed(["system=skill", "run.dir=unused", *own, *arguments]).estimator, _convert_="all")
        for method, own in METHODS.items()
        if method not in (CEILING, "Exact")
    }

    def f(paths: torch.Tensor) -> torch.Tensor:
        return -task.rewarded(questions, paths).double()

    found = analysis.compare(f, logits, candidates, on="ids", replicates=REPLICATES, rounds=0, progress=False)
    names = ("evaluations", "variance", "variance_se", "bias_p_value")
    return [
        {"method": row["name"]} | {name: digits(row[name]) for name in names}
        for row in sorted(found.rows(), key=lambda row: [*METHODS].index(row["name"]))
    ]
