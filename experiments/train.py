"""Train a VAE with discrete latents: `python -m experiments.train estimator=rloo data=mnist`; see conf/train.yaml."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.errors import UserError
from experiments.run import Interrupted, Run

SAME_ON_RESUME = ("data", "model", "estimator", "optimizer", "prior_optimizer")


def build(config: DictConfig) -> Run:
    """Make all parts from their configurations.

    Raises:
        UserError: with the sentence of the part that refuses.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        settings = instantiate(config.run)
        images = instantiate(config.data)
        torch.manual_seed(settings.seed)  # of the parameters
        model = instantiate(config.model)(images.train.mean(0)).to(device)
        estimator = instantiate(config.estimator, _convert_="all")  # a user's tree as plain lists
        identity: dict[str, Any] = {name: OmegaConf.to_container(config[name], resolve=True) for name in SAME_ON_RESUME}
        if "url" in identity["data"]:  # files are the same wherever they lie: their hashes say so
            identity["data"] = {name: identity["data"][name] for name in ("name", "train", "test")}
        identity |= {"run.batch": settings.batch, "run.seed": settings.seed}
        optimizers = instantiate(config.optimizer), instantiate(config.prior_optimizer)
        return Run(settings, images, model, estimator, *optimizers, identity=identity)
    except InstantiationException as error:
        raise UserError(str(error.__cause__ or error)) from error
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def train(config: DictConfig) -> Run:
    """Build, train, evaluate, draw."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.resume not in (True, False, "auto"):
        raise UserError(f"resume is true, false or auto, not {config.resume!r}.")
    run = build(config)
    run.start(config.resume, OmegaConf.to_yaml(config, resolve=True))
    run.train()
    return run


def describe(run: Run) -> str:
    """The last figures, and where everything is."""
    row = run.rows[-1]
    name = type(run.estimator).__name__
    paths = run.pictures(f"{name}, {run.images.name}, step {run.step}")
    lines = [
        f"{name} on {run.images.name}, {run.step} steps, {row['steps_per_second']} steps/s at the end",
        f"  train ELBO  {row['train_elbo']:.2f} nats per image (over the last steps)",
        f"  test bound  {row['test_bound']:.2f} nats per image ({run.settings.bound_samples} samples, all test images)",
        f"  metrics     {run.folder / 'metrics.csv'}",
        *(f"  picture     {path}" for path in paths),
    ]
    return "\n".join(lines)


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def main(config: DictConfig) -> Any:
    """The command."""
    try:
        print(describe(train(config)))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except Interrupted as stop:
        arguments = [argument for argument in sys.argv[1:] if not argument.startswith("resume=")]
        command = shlex.join(["python", "-m", "experiments.train", *arguments, "resume=true"])
        print(f"stopped at step {stop.step}; go on with\n  {command}", file=sys.stderr)
        sys.exit(128 + stop.signum)


if __name__ == "__main__":
    main()
