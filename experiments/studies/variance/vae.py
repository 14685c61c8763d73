"""VAEs at stages of their training, as problems; and the short run of one where the user has none."""

from __future__ import annotations

import functools
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from experiments.errors import UserError
from experiments.locks import locked
from experiments.studies.problems import Instance
from experiments.studies.stages.stage import FrozenModel, load

ROOT = Path(__file__).parents[3]
"""From where the programs run."""


def vae(
    run: str = "",
    step: int = 1000,
    images: int = 64,
    wrt: str = "logits",
    scale: float = 1.0,
    part: int = 0,
    parts: int = 1,
    seed: int = 0,
) -> Instance:
    """The ELBO of a fixed batch of training images, in nats summed over them.

    Args:
        run: folder of a run that kept the checkpoint of that step.
        step: which.
        images: in the batch.
        wrt: "logits" of the posterior, or "encoder": its weights, told apart by layer.
        scale: multiplies the posterior's logits, also where log q is evaluated.
        part, parts: the images in the order of their posteriors' entropy are cut into so many, and this part taken.
        seed: of the choice of the images and of their binarisation.
    """
    frozen = _frozen(run, step, images, seed)
    model = frozen.model
    with torch.no_grad():
        log_probs = _categorical(model.posterior_logits(frozen.images), model.latent).log_softmax(-1)
        order = -(log_probs.exp() * log_probs).sum((-1, -2))
    chosen = frozen.images[order.argsort().chunk(parts)[part]] if parts > 1 else frozen.images
    logits = scale * model.posterior_logits(chosen)

    def f(points: Tensor) -> Tensor:
        return model.terms(chosen, points, logits).elbo

    return Instance(
        model.latent, f, logits, model.encoder if wrt == "encoder" else None, context=frozen.task.context(chosen)
    )


def train(folder: Path, steps: Sequence[int], overrides: Sequence[str]) -> None:
    """Train a run that keeps these steps, or go on with it: `python -m experiments.train`, in a process of its own.

    Raises:
        UserError: with what the program says.
    """
    keep = ",".join(str(step) for step in sorted(steps))
    command = [sys.executable, "-m", "experiments.train", *overrides, f"run.keep=[{keep}]", f"run.steps={max(steps)}"]
    command += [f"run.dir={folder.resolve()}", "resume=auto", f"threads={torch.get_num_threads()}"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    own = folder.parent / f".{folder.name}.lock"  # the run itself locks the folder
    own.touch()
    # Other jobs may be training in the folder, as shards of one report do.
    with locked(own, lambda: print(f"waiting for the job that trains {folder}", file=sys.stderr)) as lock:
        if all((folder / f"checkpoint-{step}.pt").exists() for step in steps):
            return
        print(f"training for this report: {shlex.join(['python', *command[1:]])}", file=sys.stderr)
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            pass_fds=[lock],  # locked for as long as either lives
        )
    if done.returncode:
        raise UserError(f"the run for this report failed: {done.stderr.strip().splitlines()[-1]}")


@functools.lru_cache(maxsize=1)
def _frozen(run: str, step: int, images: int, seed: int) -> FrozenModel:
    frozen = FrozenModel(load(Path(run), step), images, seed)
    frozen.model.encoder.requires_grad_(True)
    return frozen


def _categorical(logits: Tensor, latent: str) -> Tensor:
    return torch.stack((torch.zeros_like(logits), logits), -1) if latent == "bernoulli" else logits
