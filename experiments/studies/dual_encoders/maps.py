"""A map of both towers' embeddings for each variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.curves import put
from experiments.errors import UserError
from experiments.export import trained
from experiments.parts.towers import embed
from experiments.studies.dual_encoders.runs import FEW, MANY, VARIANTS, Trial
from experiments.systems.dual_encoder import DualEncoderTask
from experiments.systems.dual_encoder.pictures import SHOWN, draw_map

FIGURE = "figures/dual-encoders-maps.png"


def write(runs: Path, out: Path, sizes: Sequence[int] = (FEW, MANY)) -> None:
    """Draw those of the runs with seed 0 that are there.

    Args:
        runs: the folder with the study's runs.
        out: to write to.
        sizes: numbers of pairs, a row each.

    Raises:
        UserError: where no run is.
    """
    trials = [[Trial("variants", size, variant) for variant in VARIANTS] for size in sizes]
    rows = [row for row in trials if all((runs / trial.folder / "result.json").exists() for trial in row)]
    if not rows:
        raise UserError(f"{runs} has not all variants with seed 0 for any of {sizes}; run the part variants first.")
    figure = Figure(figsize=(3 * len(VARIANTS), 3.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(VARIANTS), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis, trial in zip(line, row, strict=True):
            task = trained(runs / trial.folder).task
            assert isinstance(task, DualEncoderTask)
            places = task.judged.pairs[:SHOWN]
            columns = zip(task.towers(), task.held_out, places.T, strict=True)
            draw_map(axis, *(embed(tower, tokens.take(place), task.world) for tower, tokens, place in columns))
            axis.set_title(f"{VARIANTS[trial.variant]}, {trial.pairs:,} pairs", fontsize=10)
    axes[0][0].legend(loc="best", fontsize=7)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    put(out / FIGURE, figure)
