"""A map of the prompts of one run, by class."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from experiments.curves import put
from experiments.errors import UserError
from experiments.export import trained
from experiments.studies.knowledge_prompts.runs import READ, Trial
from experiments.systems.knowledge_prompts import PromptsTask
from experiments.systems.knowledge_prompts.pictures import draw_map

FIGURE = "figures/knowledge-prompts-map.png"


def write(runs: Path, out: Path) -> None:
    """Draw the run with seed 0 whose prompts are those that a linker chooses among.

    Args:
        runs: the folder with the study's runs.
        out: to write to.

    Raises:
        UserError: where that run is not done.
    """
    folder = Trial("prompts", str(READ)).folder(runs)
    if not (folder / "result.json").exists():
        raise UserError(f"{folder} holds no finished run; carry out the part prompts first.")
    task = trained(folder).task
    assert isinstance(task, PromptsTask)
    figure = Figure(figsize=(8, 7), layout="constrained")
    draw_map(figure.subplots(), task.eval())
    (out / "figures").mkdir(parents=True, exist_ok=True)
    put(out / FIGURE, figure)
