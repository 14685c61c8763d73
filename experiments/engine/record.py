"""What is recorded along a run: the rows of metrics.csv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments.engine.world import World
from experiments.files import write_table

TIMES = ("steps_per_second", "seconds")
"""The columns in which two equal runs differ."""


class Record:
    """Rows, and the sums of the steps since the last one.

    Args:
        measures: the columns between the step and the times; what is not measured at a step stays empty.
        world: the processes whose steps are averaged.
    """

    def __init__(self, measures: tuple[str, ...], world: World) -> None:
        self.measures, self.world, self.columns = measures, world, ("step", *measures, *TIMES)
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0
        """Of all steps, without evaluations and checkpoints."""
        self.since = (0, 0.0)
        """Steps and seconds at the last row."""
        self.sums: dict[str, Tensor] = {}

    def add(self, shown: dict[str, Tensor]) -> None:
        """Take in a step."""
        for name, value in shown.items():
            self.sums[name] = self.sums[name] + value.double() if name in self.sums else value.double()

    def close(self, step: int, measured: Mapping[str, float | None]) -> None:
        """Keep the row of the steps since the last one, with what else was measured at this step; begin the next."""
        steps, seconds = step - self.since[0], self.seconds - self.since[1]
        means = {name: self.world.mean(total, steps) for name, total in self.sums.items()}
        row = {"step": step} | dict.fromkeys(self.measures) | means | dict(measured)
        self.rows.append(row | {"steps_per_second": round(steps / seconds, 2), "seconds": round(self.seconds, 2)})
        self.since = (step, self.seconds)
        self.sums = {}

    def write(self, path: Path) -> None:
        """Write the rows as CSV, whole."""
        write_table(path, self.columns, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint, but for the sums, of which every process has its own."""
        return {"rows": self.rows, "seconds": self.seconds, "since": self.since}

    def load_state_dict(self, state: dict[str, Any], sums: dict[str, Tensor]) -> None:
        """From the checkpoint, with the sums of this process; a row has nothing of what was not measured then."""
        self.rows = [{name: row.get(name) for name in self.columns} for row in state["rows"]]
        self.seconds, self.since = state["seconds"], tuple(state["since"])
        self.sums = {name: total.to(self.world.device) for name, total in sums.items()}
