"""Train a system: `python -m experiments.train system=vae estimator=rloo data=mnist`; see conf/train.yaml.

On several processes: `torchrun --nproc-per-node=2 -m experiments.train ...`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import operator
import os
import platform
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import discretegrad as dg
from experiments import many
from experiments.command import again, flat, placeless, refuse, run_job
from experiments.engine import Interrupted, Learning, Run, World
from experiments.engine.world import joined
from experiments.errors import UserError, require_count, require_number
from experiments.files import as_json

REFERENCE = re.compile(r"\$\{([\w.]+)\}")
"""A value that is given elsewhere."""


def build(config: DictConfig, world: World | None = None) -> Run:
    """Make all parts from their configurations.

    Raises:
        UserError: with the sentence of the part that refuses.
    """
    if world is None:
        with joined(config.device) as world:
            return build(config, world)
    optimizers = _optimizers(config)
    for name in optimizers:
        require_number(f"{name}.lr", config[name].get("lr", 0.0), least=0, below=float("inf"))
    try:
        settings = instantiate(config.run)
        torch.manual_seed(settings.seed)  # of the parameters
        task = instantiate(config.task, _convert_="all")  # a user's tree as plain lists
        makers = {name: instantiate(config[name]) for name in optimizers}
        return Run(Learning(settings, task, makers, instantiate(config.schedule), world), _identity(config))
    except InstantiationException as error:
        raise UserError(str(error.__cause__ or error)) from error
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def train(config: DictConfig) -> Run:
    """Build, train, evaluate.

    Raises:
        UserError: before anything is written, or with the last checkpoint in place.
        Interrupted: with a checkpoint at the step reached.
    """
    with joined(config.device) as world, contextlib.ExitStack() as lock:
        for name in ("threads", "jobs"):
            if config[name] is not None:
                require_count(name, config[name])
        if config.threads or config.jobs:
            torch.set_num_threads(config.threads or max(1, cores() // config.jobs))
        if config.resume not in (True, False, "auto"):
            raise UserError(f"resume is true, false or auto, not {config.resume!r}.")
        run = build(config, world)
        refused = config.resume is True and not run.folder.checkpoint.exists()  # by `start`, which makes no folder then
        if world.writes and not refused:
            lock.enter_context(many.alone(run.folder.path))
        run.start(config.resume, described(config, world))
        run.train()
        return run


def described(config: DictConfig, world: World) -> dict[str, bytes]:
    """What is kept beside a run's results: its configuration, and the versions that it was trained with."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "discretegrad": dg.__version__}
    environment = as_json(versions | {"device": str(world.device)})
    return {"config.yaml": OmegaConf.to_yaml(config, resolve=True).encode(), "environment.json": environment}


def describe(run: Run) -> str:
    """The last figures, and where everything is; draws the pictures."""
    from experiments import curves  # takes matplotlib with it

    assert run.result is not None
    folder, rows, result = run.folder.path, run.record.rows, run.result
    title = f"{run.task.title}, step {run.step}"
    units = run.task.measures
    run.task.eval()
    paths = [*run.task.pictures(folder), curves.learning_curve(folder / "learning_curve.png", rows, units, title)]
    monitor = run.learning.monitor
    if monitor is not None:
        paths.append(curves.watched(folder / "monitor.png", monitor.rows, title))
    measured = [(name.replace("_", " "), result[name], units[name]) for name in units if result[name] is not None]
    lines = [
        f"{run.task.title}, {run.step} steps, {result['steps_per_second']} steps/s at the end",
        *(f"  {name}  {value:.6g} {unit}" for name, value, unit in measured),
        f"  metrics  {run.folder.metrics}",
        *(f"  picture  {path}" for path in paths),
    ]
    if monitor is not None:
        lines += [f"  monitor  {monitor.path}", "", str(monitor)]
    return "\n".join(lines)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def finished(config: DictConfig) -> bool:
    """Whether the run's folder holds the same run with its last figures and pictures."""
    folder = Path(config.run.dir)
    try:
        result = json.loads((folder / "result.json").read_bytes())
        same = _lasting(OmegaConf.load(folder / "config.yaml")) == _lasting(config)
    except (OSError, ValueError, KeyError, OmegaConfBaseException):
        return False
    return same and result.get("step") == config.run.steps and (folder / "learning_curve.png").exists()


def trained(config: DictConfig) -> str:
    """Train; what there is to say of it."""
    run = train(config)
    return describe(run) if run.world.writes else ""


def trained_once(config: DictConfig) -> str:
    """The same for a sweep: with resume=auto, what is finished is left as it is."""
    if config.resume == "auto" and finished(config):
        return f"{config.run.dir} is finished already"
    return trained(config)


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def _job(config: DictConfig) -> None:
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        many.run_in_sweep(config, trained_once)
        return
    try:
        if said := trained(config):
            print(said)
    except UserError as error:  # here, because Hydra has a line of its own to say about what leaves a job
        refuse(str(error))


def main() -> None:
    """The command: every refusal is one sentence and exit code 2, a stop says how to go on."""
    job: Callable[[], None] = _job
    run_job(_sweep if {"-m", "--multirun"} & set(sys.argv) else job, _stopped)


def _sweep() -> None:
    try:
        with many.Sweep():
            _job()
    except UserError as error:
        refuse(str(error))


def _stopped(stop: KeyboardInterrupt) -> tuple[str, int]:
    step, number = stop.args if isinstance(stop, Interrupted) else (None, signal.SIGINT)
    processes = os.environ.get("LOCAL_WORLD_SIZE")
    launcher = ["torchrun", f"--nproc-per-node={processes}"] if processes else ["python"]
    command = again(*launcher, "-m", "experiments.train")
    at = "" if step is None else f" at step {step}"
    if "launcher=slurm" in sys.argv:
        at = "; the jobs of the cluster go on, and scancel ends them. Then"
    return f"stopped{at}; go on with\n  {command}", number


def _identity(config: DictConfig) -> dict[str, Any]:
    """What must be the same when a run goes on: the task and its optimisers, each value where it was given."""
    values: Any = OmegaConf.to_container(config, resolve=True)
    given: Any = OmegaConf.to_container(config, resolve=False)
    found: dict[str, Any] = {}
    for name, value in flat({name: given[name] for name in ("task", *_optimizers(config))}).items():
        source = REFERENCE.fullmatch(str(value))
        found |= flat(_at(values, source[1]), source[1]) if source else flat(_at(values, name), name)
    return placeless(found)


def _optimizers(config: DictConfig) -> list[str]:
    return [str(name) for name in config if str(name).endswith("optimizer")]


def _at(values: Any, name: str) -> Any:
    """What stands at a dotted name."""
    return functools.reduce(operator.getitem, name.split("."), values)


def _lasting(config: Any) -> dict[str, Any]:
    """All that its figures depend on."""
    values: Any = OmegaConf.to_container(config, resolve=True)
    run = {name: values["run"][name] for name in ("seed", "batch", "clip", "evaluate_every", "evaluate_most")}
    return run | placeless(flat({name: values[name] for name in ("task", "schedule", *_optimizers(config))}))


if __name__ == "__main__":
    main()
