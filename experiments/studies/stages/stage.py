"""A frozen model: estimates, their variance, learning, time."""

from __future__ import annotations

import copy
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from tqdm import tqdm

import discretegrad as dg
from experiments.data.images import binarise
from experiments.errors import UserError
from experiments.studies.page import digits
from experiments.studies.stages.candidates import Candidate, candidates
from experiments.systems.vae import VAE, VAETask
from experiments.train import build

PRECISION = 0.015
"""Relative standard error at which a variance is known well enough."""


class FrozenModel:
    """A frozen model and a batch of images.

    Args:
        task: with its parameters loaded.
        count: of images.
        seed: of their choice and binarisation.
    """

    def __init__(self, task: VAETask, count: int, seed: int) -> None:
        self.task, self.model = task, copy.deepcopy(task.model).requires_grad_(False)
        self.generator = torch.Generator(task.world.device).manual_seed(seed)
        self.images = self.batch(count)

    def batch(self, count: int) -> Tensor:
        """Binarised training images."""
        images = self.task.images.train
        rows = torch.randint(len(images), (count,), generator=self.generator, device=images.device)
        return binarise(images[rows], self.generator)

    def draw(self, estimator: dg.Estimator, images: Tensor, model: VAE) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
        """The posterior's logits, the surrogate, and what the estimator's modules are fitted to."""
        logits = model.posterior_logits(images)
        if not logits.requires_grad:
            logits.requires_grad_()
        draw = estimator.sample(logits, self.generator)
        values = model.terms_of(images, draw, estimator).elbo
        context = self.task.context(images)
        return logits, estimator.surrogate(draw, values, context), (draw, values, context)

    def gradient(self, estimator: dg.Estimator) -> Tensor:
        """One estimate for the images, `[B, V, C]`."""
        logits, surrogate, _ = self.draw(estimator, self.images, self.model)
        return torch.autograd.grad(surrogate.sum(), logits)[0]

    def losses(self, estimator: dg.Estimator, batch: int) -> list[Tensor]:
        """Those of the estimator's modules on a fresh batch."""
        _, _, seen = self.draw(estimator, self.batch(batch), self.model)
        return [learner.loss(*seen) for learner in modules(estimator)]

    def learn(self, estimator: dg.Estimator, steps: int, batch: int = 100, rate: float = 1e-3) -> None:
        """Let the estimator's modules learn on fresh batches; the model stays as it is."""
        for _ in range(2):  # a first call gives lazy layers their shapes
            self.losses(estimator, batch)
        optimizer = torch.optim.Adam([p for learner in estimator.learners for p in learner.parameters()], rate)
        for _ in range(steps):
            losses = self.losses(estimator, batch)
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()

    def variance(self, estimator: dg.Estimator, most: int) -> tuple[float, float, Tensor, int]:
        """Total variance an image, its standard error, the mean gradient, and how many estimates it is the mean of.

        Half the squared distance of two estimates is the variance without a bias; so many pairs are drawn that
        `PRECISION` is reached, or `most`.
        """
        found: list[float] = []
        mean = torch.zeros(())
        while len(found) < 20 or (len(found) < most and _error(found) > PRECISION * statistics.fmean(found)):
            one, other = self.gradient(estimator), self.gradient(estimator)
            found.append(float((one - other).square().sum() / 2 / len(self.images)))
            mean = mean + one + other
        return statistics.fmean(found), _error(found), mean / (2 * len(found)), 2 * len(found)


def modules(estimator: dg.Estimator) -> tuple[Any, ...]:
    """The estimator's modules."""
    return estimator.learners


def _error(found: list[float]) -> float:
    return statistics.stdev(found) / len(found) ** 0.5


def times(frozen: FrozenModel, listed: list[Candidate], rounds: int) -> dict[str, float]:
    """Median seconds of a whole training step with each, all of them once a round."""
    model = copy.deepcopy(frozen.task.model).requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-5, fused=True)
    rates = {c.label: [p for m in c.estimator.learners for p in m.parameters()] for c in listed}
    own = {label: torch.optim.Adam(p, 0.0) for label, p in rates.items() if p}
    taken: dict[str, list[float]] = {candidate.label: [] for candidate in listed}
    for turn in range(rounds + 1):
        for candidate in listed:
            start = time.perf_counter()
            _, surrogate, seen = frozen.draw(candidate.estimator, frozen.images, model)
            loss = -surrogate.mean()
            for learner in modules(candidate.estimator):
                loss = loss + learner.loss(*seen)
            for each in (optimizer, *([own[candidate.label]] if candidate.label in own else [])):
                each.zero_grad()
            loss.backward()
            optimizer.step()
            if candidate.label in own:
                own[candidate.label].step()
            if turn:
                taken[candidate.label].append(time.perf_counter() - start)
    return {label: statistics.median(each) for label, each in taken.items()}


def configuration(folder: Path, step: int) -> DictConfig:
    """Of a run of the VAE that kept the checkpoint of that step.

    Raises:
        UserError: where it is none.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise UserError(f"{folder} is no folder of a run of experiments.train; give one that kept checkpoints.")
    if not (folder / f"checkpoint-{step}.pt").exists():
        raise UserError(f"{folder} has no checkpoint-{step}.pt; train with run.keep=[{step}], or give a step it kept.")
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    try:
        known = issubclass(get_class(config.task._target_), VAETask)
    except Exception:  # an older version's has no task, another's may not be here
        known = False
    if not known:
        raise UserError(f"{folder} holds no run of system=vae by this version of the experiments; give one.")
    return config


def load(folder: Path, step: int) -> VAETask:
    """The VAE in a run's folder, as it was at a step.

    Raises:
        UserError: where there is none; see `configuration`.
    """
    run = build(configuration(folder, step))
    assert isinstance(run.task, VAETask)
    if run.task.model.inputs == "ids":
        raise UserError(
            f"{folder} has a decoder of ids, for which not all estimators are; train with model.inputs=points."
        )
    state = run.folder.load(folder / f"checkpoint-{step}.pt", None, run.world.device)
    run.task.load_state_dict(state["task"])
    return run.task


def measure(folder: Path, step: int, images: int, learn: int, most: int, rounds: int) -> list[dict[str, str]]:
    """The lines of one frozen model, as they are written."""
    task = load(folder, step)
    if task.model.latent != "categorical":
        raise UserError(f"{folder} has Bernoulli latents; the estimators of this table are for categorical ones.")
    frozen = FrozenModel(task, images, seed=0)
    variables, categories = task.model.prior_logits.shape
    listed = candidates((variables, categories), task.estimator)
    learnt = {id(learner) for learner in task.estimator.learners}
    lines: list[dict[str, str]] = []
    reference, reference_error = torch.zeros(()), 0.0
    base = 0.0
    first = sorted(listed, key=lambda c: (c.label != "RLOO(2)", c.origin == "biased"))
    for candidate in tqdm(first, desc=f"step {step}"):
        trainee = candidate.trainee or candidate.estimator
        if any(id(learner) not in learnt for learner in trainee.learners):
            frozen.learn(trainee, int(learn * candidate.patience))
            learnt |= {id(learner) for learner in trainee.learners}
        variance, error, mean, count = frozen.variance(candidate.estimator, most)
        if candidate.label == "RLOO(2)":
            base = variance
        if candidate.label == "Quadratic(7)":  # of all unbiased ones the surest mean
            reference, reference_error = mean, variance / count
        bias: float | None = None
        if candidate.origin == "biased":
            square = float((mean - reference).square().sum() / images) - variance / count - reference_error
            bias = max(square, 0.0) / base
        lines.append(
            {
                "step": str(step),
                "estimator": candidate.label,
                "origin": candidate.origin,
                "evaluations": str(candidate.estimator.evaluations),
                "variance": digits(variance / base),
                "error": digits(error / base),
                "squared_bias": digits(bias),
                "nats": digits(variance),
            }
        )
    signal = float(reference.square().sum() / images) - reference_error
    spent = times(frozen, listed, rounds)
    return [
        line | {"time": digits(spent[line["estimator"]] / spent["RLOO(2)"]), "signal": digits(signal / base)}
        for line in lines
    ]
