"""How long a run is, how often it records, where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.errors import UserError, require_count, require_number


@dataclass(frozen=True)
class Settings:
    """See conf/train.yaml for each."""

    dir: str
    steps: int
    batch: int
    seed: int
    log_every: int
    evaluate_every: int
    evaluate_most: int | None
    checkpoint_every: int
    keep: Sequence[int]
    clip: float | None
    monitor_share: float | None
    progress: bool
    checkpoint_minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "evaluate_every", "checkpoint_every"):
            require_count(f"run.{name}", getattr(self, name))
        if self.evaluate_most is not None:
            require_count("run.evaluate_most", self.evaluate_most)
        require_count("run.seed", self.seed, least=0)
        for step in self.keep:
            require_count("each step in run.keep", step)
        for name, below in (("clip", float("inf")), ("checkpoint_minutes", float("inf")), ("monitor_share", 1)):
            if (number := getattr(self, name)) is not None:
                require_number(f"run.{name}", number, least=0, below=below)
        if self.monitor_share == 0:
            raise UserError("run.monitor_share must be above 0; give null to watch nothing.")
