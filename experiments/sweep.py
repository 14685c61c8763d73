"""A sweep on a Ray cluster: `python -m experiments.sweep estimator=rloo,disarm_tree run.seed=0,1,2 jobs=2`.

The arguments are those of `python -m experiments.train -m`, in Hydra's grammar, and besides them

- address=local: of the cluster. local starts one on this machine, which ends with the sweep; auto is the one that runs
  here, ray://HOST:10001 any. Its nodes must see this checkout, its Python and the run folders under the same paths.
- jobs=N: runs at a time; without it as many as the cluster has room for. Each takes `threads` CPUs: without that, its
  share of the cluster's, or one.
- gpus=0: of each run; a fraction lets several share one.
- retries=3: how often a run whose process or node died is started again. It goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict

from experiments import many
from experiments.command import again, of_hydra, refuse, run_job
from experiments.engine import Interrupted
from experiments.errors import UserError
from experiments.train import finished, trained

CONF = Path(__file__).parents[1] / "conf"
OWN: dict[str, Any] = {"address": "local", "jobs": None, "gpus": 0, "retries": 3}
GRACE = 60.0
"""Seconds that runs have to stop at their step."""


class Plan(NamedTuple):
    """What is to be done."""

    address: str
    jobs: int | None
    gpus: float
    retries: int
    runs: dict[str, list[str]]
    """By their folders, the overrides of each."""


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration of one run, which may name Hydra's choices (`${hydra:runtime.choices.estimator}`)."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config


def planned(arguments: Sequence[str]) -> Plan:
    """Expand the arguments; composes every run, so that what does not compose is refused before any begins.

    Raises:
        UserError: that says what is wrong.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        overrides = parser.parse_overrides(list(arguments))
    own = dict(OWN)
    for override in [override for override in overrides if override.key_or_group in OWN]:
        if override.is_sweep_override():
            raise UserError(f"{override.key_or_group} is one value for the whole sweep.")
        own[override.key_or_group] = override.value()
        overrides.remove(override)
    _check(own)
    runs: dict[str, list[str]] = {}
    for run in BasicSweeper.split_arguments(overrides, None)[0]:
        config = composed(run)
        folder = os.path.abspath(config.run.dir)
        if folder in runs:
            raise UserError(
                f"two runs of the sweep go to {config.run.dir}; let run.dir name what differs between them, as in "
                "'run.dir=runs/lr${optimizer.lr}-seed${run.seed}'."
            )
        runs[folder] = run
    return Plan(**own, runs=runs)


def _check(own: dict[str, Any]) -> None:
    for name, least in (("jobs", 1), ("retries", 0)):
        if own[name] is not None and (type(own[name]) is not int or own[name] < least):
            raise UserError(f"{name} must be an integer of at least {least}, not {own[name]!r}.")
    if type(own["gpus"]) not in (int, float) or own["gpus"] < 0:
        raise UserError(f"gpus must be a number of at least 0, not {own['gpus']!r}.")
    if not (own["address"] in ("local", "auto") or ":" in str(own["address"])):
        raise UserError(f"address is local, auto, HOST:PORT or ray://HOST:PORT, not {own['address']!r}.")


def one(overrides: list[str], folder: str) -> many.Outcome:
    """One run, in a process of Ray's.

    Args:
        overrides: of its configuration.
        folder: in which the command was given.
    """
    os.chdir(folder)
    return many.attempt_or_stop(composed([*overrides, "run.progress=false"]), trained)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, with a cluster.

    Raises:
        UserError: where there is none.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or it reports to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change to come
    try:
        import ray
    except ImportError as error:
        raise UserError("a sweep on Ray needs the extra ray: pip install 'discretegrad[ray]'.") from error
    local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        if ":" in address:  # Ray tries for minutes
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address, log_to_driver=False, logging_level="ERROR", **local)
    except (OSError, ValueError, RuntimeError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(f"there is no Ray cluster at address={address} ({said}).") from error
    try:
        yield ray
    finally:
        ray.shutdown()


class Sweep:
    """The runs on a cluster.

    Args:
        ray: the module, connected.
        plan: what is to be done.
    """

    def __init__(self, ray: Any, plan: Plan) -> None:
        self.ray, self.plan = ray, plan
        self.outcomes = many.Outcomes()
        self._waiting = deque(plan.runs)
        self._died: Counter[str] = Counter()
        self._running: dict[Any, str] = {}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores, gpus = ([int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU"))
        if plan.gpus > max(gpus):
            raise UserError(f"gpus={plan.gpus} is more than any node of the cluster has: {max(gpus)}.")
        self._most = max(cores)
        self._share = max(1, min(sum(cores) // plan.jobs, self._most)) if plan.jobs else 1

    def run(self) -> None:
        """Do all.

        Raises:
            UserError: at the end, where a run failed.
            Interrupted: where the sweep was stopped.
        """
        try:
            with _interrupted_by(signal.SIGTERM):
                while self._waiting or self._running:
                    while self._waiting and len(self._running) < (self.plan.jobs or len(self.plan.runs)):
                        self._start(self._waiting.popleft())
                    for reference in self.ray.wait(list(self._running), timeout=1.0)[0]:
                        self._end(reference)
        except KeyboardInterrupt as stop:
            self._stop()
            raise Interrupted(None, stop.args[0] if stop.args else signal.SIGINT) from None
        self.outcomes.check()

    def _start(self, run: str) -> None:
        overrides = [*self.plan.runs[run], *(["resume=auto"] if self._died[run] else [])]
        config = composed(overrides)
        threads = config.threads or self._share
        if threads > self._most:
            self.outcomes.take(
                many.Outcome(run, "failed", f"threads={threads} is more than any node has: {self._most}.")
            )
        elif config.resume == "auto" and finished(config):
            self.outcomes.take(many.Outcome(run, "done", f"{run} is finished already"))
        else:
            task = self.ray.remote(one).options(num_cpus=threads, num_gpus=self.plan.gpus, max_retries=0)
            self._running[task.remote([*overrides, f"threads={threads}"], os.getcwd())] = run

    def _end(self, reference: Any) -> None:
        run = self._running.pop(reference)
        try:
            outcome = many.Outcome(*self.ray.get(reference))
        except self.ray.exceptions.RayTaskError as error:  # before the run began: a node without the checkout, say
            outcome = many.Outcome(run, "failed", str(error.cause))
        except self.ray.exceptions.RayError as error:
            died = f"its process died ({type(error).__name__})"
            self._died[run] += 1
            if self._died[run] <= self.plan.retries:
                print(f"{run}: {died}; started again, {self._died[run]} of {self.plan.retries}", file=sys.stderr)
                self._waiting.append(run)
                return
            outcome = many.Outcome(run, "failed", f"{died} {self._died[run]} times; go on with resume=auto.")
        self.outcomes.take(outcome)

    def _stop(self) -> None:
        print("stopping the runs at the step that they are at", file=sys.stderr, flush=True)
        for reference in self._running:
            self.ray.cancel(reference, force=False)
        self.ray.wait(list(self._running), num_returns=max(1, len(self._running)), timeout=GRACE)


@contextlib.contextmanager
def _interrupted_by(number: int) -> Iterator[None]:
    """Take a signal for Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    previous = signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, previous)


def _job() -> None:
    try:
        plan = planned([argument for argument in sys.argv[1:] if argument not in ("-m", "--multirun")])
        with connected(plan.address) as ray:
            Sweep(ray, plan).run()
    except HydraException as error:
        refuse(of_hydra(error))
    except UserError as error:
        refuse(str(error))


def _stopped(stop: KeyboardInterrupt) -> tuple[str, int]:
    command = again("python", "-m", "experiments.sweep")
    return f"stopped; go on with\n  {command}", stop.signum if isinstance(stop, Interrupted) else signal.SIGINT


def main() -> None:
    """The command: as `python -m experiments.train -m`, on Ray."""
    run_job(_job, _stopped)


if __name__ == "__main__":
    main()
