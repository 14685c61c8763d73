"""How long a run is, how often it records, where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.engine.errors import UserError, require_count, require_number


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
        require_count("run.seed", self.seed, least=0)
        for step in self.keep:
            require_count("each step in run.keep", step)
        if self.evaluate_most is not None:
            require_count("run.evaluate_most", self.evaluate_most)
        if self.clip is not None:
            require_number("run.clip", self.clip, least=0, below=float("inf"))
        if self.checkpoint_minutes is not None:
            require_number("run.checkpoint_minutes", self.checkpoint_minutes, least=0, below=float("inf"))
        if self.monitor_share is not None:
            require_number("run.monitor_share", self.monitor_share, least=0, below=1)
            if not self.monitor_share:
                raise UserError("run.monitor_share must be above 0; give null to watch nothing.")
