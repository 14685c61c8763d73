"""A frozen model: estimates, their variance, learning, time."""

from __future__ import annotations

import copy
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor
from tqdm import tqdm

import discretegrad as dg
from experiments.data.images import binarise
from experiments.engine import Run
from experiments.engine.errors import UserError
from experiments.studies.stages.candidates import Candidate, candidates
from experiments.systems.vae.model import VAE
from experiments.train import build

PRECISION = 0.015
"""Relative standard error at which a variance is known well enough."""


class Stage:
    """A frozen model and a batch of images.

    Args:
        run: with its parameters loaded.
        count: of images.
        seed: of their choice and binarisation.
    """

    def __init__(self, run: Run, count: int, seed: int) -> None:
        self.run, self.model = run, copy.deepcopy(run.task.model).requires_grad_(False)
        self.generator = torch.Generator(run.world.device).manual_seed(seed)
        self.images = self.batch(count)

    def batch(self, count: int) -> Tensor:
        """Binarised training images."""
        images = self.run.task.images.train
        rows = torch.randint(len(images), (count,), generator=self.generator, device=images.device)
        return binarise(images[rows], self.generator)

    def draw(self, estimator: dg.Estimator, images: Tensor, model: VAE) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
        """The posterior's logits, the surrogate, and what the estimator's modules are fitted to."""
        logits = model.posterior_logits(images)
        if not logits.requires_grad:
            logits.requires_grad_()
        draw = estimator.sample(logits, self.generator)
        values = model.terms_of(images, draw, estimator).elbo
        context = images - model.mean
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


def times(stage: Stage, listed: list[Candidate], rounds: int) -> dict[str, float]:
    """Median seconds of a whole training step with each, all of them once a round."""
    model = copy.deepcopy(stage.run.task.model).requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-5, fused=True)
    rates = {c.label: [p for m in c.estimator.learners for p in m.parameters()] for c in listed}
    own = {label: torch.optim.Adam(p, 0.0) for label, p in rates.items() if p}
    taken: dict[str, list[float]] = {candidate.label: [] for candidate in listed}
    for turn in range(rounds + 1):
        for candidate in listed:
            start = time.perf_counter()
            _, surrogate, seen = stage.draw(candidate.estimator, stage.images, model)
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


def load(folder: Path, step: int) -> Run:
    """The run in a folder, as it was at a step.

    Raises:
        UserError: where it did not keep the checkpoint.
    """
    path = folder / f"checkpoint-{step}.pt"
    if not path.exists():
        raise UserError(f"{path} is missing; train with run.keep=[{step}], which keeps the checkpoint of that step.")
    config = OmegaConf.load(folder / "config.yaml")
    OmegaConf.update(config, "run.dir", str(folder))
    run = build(config)  # type: ignore[arg-type]
    run.load(path)
    return run


def measure(folder: Path, step: int, images: int, learn: int, most: int, rounds: int) -> list[dict[str, Any]]:
    """The lines of one stage."""
    run = load(folder, step)
    stage = Stage(run, images, seed=0)
    variables, categories = run.task.model.prior_logits.shape
    listed = candidates((variables, categories), run.task.estimator)
    learnt = {id(learner) for learner in run.task.estimator.learners}
    lines: list[dict[str, Any]] = []
    reference, reference_error = torch.zeros(()), 0.0
    base = 0.0
    first = sorted(listed, key=lambda c: (c.label != "RLOO(2)", c.origin == "biased"))
    for candidate in tqdm(first, desc=f"step {step}"):
        trainee = candidate.trainee or candidate.estimator
        if any(id(learner) not in learnt for learner in trainee.learners):
            stage.learn(trainee, int(learn * candidate.patience))
            learnt |= {id(learner) for learner in trainee.learners}
        variance, error, mean, count = stage.variance(candidate.estimator, most)
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
                "step": step,
                "estimator": candidate.label,
                "origin": candidate.origin,
                "evaluations": candidate.estimator.evaluations,
                "variance": variance / base,
                "error": error / base,
                "squared_bias": bias,
                "nats": variance,
            }
        )
    signal = float(reference.square().sum() / images) - reference_error
    for line in lines:
        line["signal"] = signal / base
    spent = times(stage, listed, rounds)
    for line in lines:
        line["time"] = spent[line["estimator"]] / spent["RLOO(2)"]
    return lines
