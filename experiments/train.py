"""Train a VAE with discrete latents: `python -m experiments.train estimator=rloo data=mnist`; see conf/train.yaml."""

from __future__ import annotations

import shlex
import signal
import sys
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.command import refuse, run_job
from experiments.errors import UserError, require_count, require_number
from experiments.run import Run
from experiments.stops import Interrupted

OPTIMIZERS = ("optimizer", "prior_optimizer", "learner_optimizer")
SAME_ON_RESUME = ("data", "model", "estimator", *OPTIMIZERS)


def build(config: DictConfig) -> Run:
    """Make all parts from their configurations.

    Raises:
        UserError: with the sentence of the part that refuses.
    """
    device = _device(config.device)
    for name in OPTIMIZERS:
        require_number(f"{name}.lr", config[name].get("lr", 0.0), least=0, below=float("inf"))
    try:
        settings = instantiate(config.run)
        images = instantiate(config.data)
        torch.manual_seed(settings.seed)  # of the parameters
        model = instantiate(config.model)(images.train.mean(0)).to(device)
        estimator = instantiate(config.estimator, _convert_="all")  # a user's tree as plain lists
        identity = {"device": device, "run.batch": settings.batch, "run.seed": settings.seed}
        for name in SAME_ON_RESUME:
            identity |= _flat(name, OmegaConf.to_container(config[name], resolve=True))
        for name in ("data.url", "data.root", "data.cache"):  # wherever files lie, their hashes say what they are
            identity.pop(name, None)
        optimizers = {name: instantiate(config[name]) for name in OPTIMIZERS}
        return Run(settings, images, model, estimator, **optimizers, identity=identity)
    except InstantiationException as error:
        raise UserError(str(error.__cause__ or error)) from error
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def train(config: DictConfig) -> Run:
    """Build, train, evaluate."""
    if config.threads is not None:
        require_count("threads", config.threads)
        torch.set_num_threads(config.threads)
    if config.resume not in (True, False, "auto"):
        raise UserError(f"resume is true, false or auto, not {config.resume!r}.")
    run = build(config)
    run.start(config.resume, OmegaConf.to_yaml(config, resolve=True))
    run.train()
    return run


def describe(run: Run) -> str:
    """The last figures, and where everything is; draws the pictures."""
    assert run.result is not None
    name = type(run.estimator).__name__
    paths = run.pictures(f"{name}, {run.images.name}, step {run.step}")
    result, samples = run.result, run.settings.bound_samples
    lines = [
        f"{name} on {run.images.name}, {run.step} steps, {result['steps_per_second']} steps/s at the end",
        f"  train ELBO  {result['train_elbo']:.2f} nats per image (over the last steps)",
        f"  test bound  {result['test_bound']:.2f} nats per image ({samples} samples, all test images)",
        f"  metrics     {run.folder / 'metrics.csv'}",
        *(f"  picture     {path}" for path in paths),
    ]
    if run.monitor is not None:
        lines += [f"  monitor     {run.monitor.path}", "", str(run.monitor)]
    return "\n".join(lines)


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def _job(config: DictConfig) -> None:
    try:
        print(describe(train(config)))
    except UserError as error:  # here, because Hydra has a line of its own to say about what leaves a job
        refuse(str(error))


def main() -> None:
    """The command: every refusal is one sentence and exit code 2, a stop says how to go on."""
    run_job(_job, _stopped)


def _stopped(stop: KeyboardInterrupt) -> tuple[str, int]:
    step, number = stop.args if isinstance(stop, Interrupted) else (None, signal.SIGINT)
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("resume=")]
    # auto, not true: in a sweep not every run has begun.
    command = shlex.join(["python", "-m", "experiments.train", *arguments, "resume=auto"])
    at = "" if step is None else f" at step {step}"
    return f"stopped{at}; go on with\n  {command}", number


def _device(name: str) -> str:
    available = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device is cpu, cuda or auto, not {name!r}.")
    if name == "cuda" and not available:
        raise UserError("device=cuda needs a GPU that torch can use, and there is none; use device=cpu.")
    return ("cuda" if available else "cpu") if name == "auto" else name


def _flat(name: str, value: Any) -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys."""
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in _flat(f"{name}.{part}", inner).items()}


if __name__ == "__main__":
    main()
