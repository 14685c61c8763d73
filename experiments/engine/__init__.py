"""Trains any system, on one process or many: the loop, what it records, and how it goes on where it stopped.

A system is a `Task`: batches, a loss, how it is judged. The engine knows no model, no data and no configuration
files; it owns the optimisers' steps, the run folder, checkpoints that resume bit for bit, signals, and the processes of
`torchrun`.
"""

from experiments.engine.learning import Learning
from experiments.engine.settings import Settings
from experiments.engine.stops import Interrupted
from experiments.engine.task import Step, Task, Watch, finite
from experiments.engine.training import Run
from experiments.engine.world import World

__all__ = ["Interrupted", "Learning", "Run", "Settings", "Step", "Task", "Watch", "World", "finite"]
