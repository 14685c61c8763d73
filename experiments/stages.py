"""Gradient variance of the estimators on a VAE, at stages of its training. Writes docs/stages.md and docs/stages.csv.

    python -m experiments.stages RUN --steps 1000 4000 12000

RUN is the folder of a run that kept its checkpoints at these steps (run.keep=[1000,4000,12000]). Everything is
measured on the same images, in nats per image, for the gradient w.r.t. the posterior's logits. Estimators with modules
of their own learn on the frozen model first, but for the run's own estimator, whose modules are what it has learned.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor
from tqdm import tqdm

import discretegrad as dg
from experiments.data.images import binarise
from experiments.errors import UserError
from experiments.files import write_whole
from experiments.models import VAE, side_network
from experiments.run import Run
from experiments.table.page import read
from experiments.train import build

DOCS = Path(__file__).parents[1] / "docs"
COLUMNS = ("step", "estimator", "origin", "evaluations", "variance", "error", "squared_bias", "time", "nats", "signal")
PRECISION = 0.015
"""Relative standard error at which a variance is known well enough."""


@dataclass(frozen=True)
class Candidate:
    """An estimator to measure, and where it is from: "published", "ours" or "biased"."""

    label: str
    origin: str
    estimator: dg.Estimator
    trainee: dg.Estimator | None = None
    """The cheapest estimator with the same modules, with which they learn."""
    patience: float = 1.0
    """The share of the steps that it learns for."""


def candidates(shape: tuple[int, int], own: dg.Estimator) -> list[Candidate]:
    """All that can be measured at 2, 4 or 8 evaluations of f.

    Args:
        shape: V and C.
        own: the run's estimator; its modules serve where they are of the kind that is wanted.
    """
    nvil = dg.NVIL(side_network(100, ()), normalise=False).learners[0]
    linear = dg.nn.LinearControlVariate(side_network(512, shape))
    taylor = dg.DoubleCV(learn=True).learners[0]
    relaxed = dg.REBAR(learn=True, tied=True).learners[0]
    relax = dg.RELAX(side_network(100, ()), tied=True).learners[0]
    quadratic = dg.nn.QuadraticControlVariate(shape, side_network(256, (65,)))
    for learner in own.learners:
        if isinstance(learner, dg.nn.QuadraticControlVariate):
            quadratic = learner
        if isinstance(learner, dg.nn.LinearControlVariate):
            linear = learner

    def score(points: int, control_variate: Any) -> dg.Estimator:
        return dg.Composition(dg.Independent(points), dg.Score(), control_variate)

    # Its network sees all S (S - 1) V C neighbours of the points, at ten times the time of a step.
    stein = dg.RODEO(2, network=dg.nn.LearnedStein().network)
    listed = [Candidate("RODEO(2), network, a tenth of the steps", "published", stein, patience=0.1)]
    for s in (2, 4, 8):
        pairs = s // 2
        listed += [
            Candidate(f"RLOO({s})", "published", dg.RLOO(s)),
            Candidate(f"NVIL({s}), not normalised", "published", score(s, nvil), score(1, nvil)),
            Candidate(f"UnorderedSet({s})", "published", dg.UnorderedSet(s)),
            Candidate(f"SumAndSample({s - 1}), no baseline", "published", dg.SumAndSample(s - 1)),
            Candidate(f"CARMS({s})", "published", dg.CARMS(s)),
            Candidate(f"DisARM-IW, {pairs} averaged", "published", dg.DisARMIW(num_pairs=pairs, alpha=1.0)),
            Candidate(f"DisARM-SB, {pairs} averaged", "published", dg.DisARMSB(pairs, "ascending", alpha=1.0)),
            Candidate(f"DisARM-Tree, {pairs} averaged", "published", dg.DisARMTree(pairs, alpha=1.0)),
            Candidate(f"MuProp({s - 1})", "published", dg.MuProp(s - 1)),
            Candidate(f"DoubleCV({s}), learned", "published", score(s, taylor), score(2, taylor)),
            Candidate(f"RODEO({s})", "published", dg.RODEO(s)),
            Candidate(f"REBAR({pairs}), tied, learned", "published", score(pairs, relaxed), score(1, relaxed)),
            Candidate(f"RELAX({pairs}), tied", "published", score(pairs, relax), score(1, relax)),
            Candidate(f"Flow, {pairs} nearly distinct", "ours", dg.Flow(dg.NearlyDistinct(pairs))),
            Candidate(
                f"Linear, RLOO({s})",
                "ours",
                dg.RLOO(s, control_variate=linear),
                dg.RLOO(control_variate=linear),
            ),
            Candidate(
                f"Linear, Flow, {pairs} nearly distinct",
                "ours",
                dg.Flow(dg.NearlyDistinct(pairs), linear),
                dg.RLOO(control_variate=linear),
            ),
            Candidate(f"Quadratic({s - 1})", "ours", score(s - 1, quadratic), score(1, quadratic)),
        ]
        if pairs > 1:
            listed.append(Candidate(f"DisARM-Tree, {pairs} with cross terms", "ours", dg.DisARMTree(pairs)))
        listed += [
            Candidate(f"StraightThrough({s})", "biased", dg.StraightThrough(s)),
            Candidate(f"Gumbel-softmax({s}), 1.0, hard", "biased", dg.GumbelSoftmax(1.0, True, s)),
            Candidate(f"Gumbel-Rao({s}), 10, 1.0", "biased", dg.GumbelRao(10, 1.0, s)),
            Candidate(f"GappedST({s})", "biased", dg.GappedST(num_samples=s)),
            Candidate(f"ReinMax({s})", "biased", dg.ReinMax(num_samples=s)),
        ]
    return listed


class Stage:
    """A frozen model and a batch of images.

    Args:
        run: with its parameters loaded.
        count: of images.
        seed: of their choice and binarisation.
    """

    def __init__(self, run: Run, count: int, seed: int) -> None:
        self.run, self.model = run, copy.deepcopy(run.model).requires_grad_(False)
        self.generator = torch.Generator(run.device).manual_seed(seed)
        self.images = self.batch(count)

    def batch(self, count: int) -> Tensor:
        """Binarised training images."""
        images = self.run.images.train
        rows = torch.randint(len(images), (count,), generator=self.generator, device=images.device)
        return binarise(images[rows], self.generator)

    def surrogate(self, estimator: dg.Estimator, images: Tensor, model: VAE) -> tuple[Tensor, ...]:
        """Logits, surrogate, and the losses of the estimator's modules."""
        logits = model.posterior_logits(images)
        if not logits.requires_grad:
            logits.requires_grad_()
        draw = estimator.sample(logits, self.generator)
        values = model.terms(images, draw.points, logits, estimator.of_bound).elbo
        context = images - model.mean
        surrogate = estimator.surrogate(draw, values, context)
        learners: tuple[Any, ...] = estimator.learners
        return logits, surrogate, *(learner.loss(draw, values, context) for learner in learners)

    def gradient(self, estimator: dg.Estimator) -> Tensor:
        """One estimate for the images, `[B, V, C]`."""
        logits = self.model.posterior_logits(self.images).requires_grad_()
        draw = estimator.sample(logits, self.generator)
        values = self.model.terms(self.images, draw.points, logits, estimator.of_bound).elbo
        surrogate = estimator.surrogate(draw, values, self.images - self.model.mean)
        return torch.autograd.grad(surrogate.sum(), logits)[0]

    def learn(self, estimator: dg.Estimator, steps: int, batch: int = 100, rate: float = 1e-3) -> None:
        """Let the estimator's modules learn on fresh batches; the model stays as it is."""
        for _ in range(2):  # a first call gives lazy layers their shapes
            images = self.batch(batch)
            self.surrogate(estimator, images, self.model)
        optimizer = torch.optim.Adam([p for learner in estimator.learners for p in learner.parameters()], rate)
        for _ in range(steps):
            _, _, *losses = self.surrogate(estimator, self.batch(batch), self.model)
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


def _error(found: list[float]) -> float:
    return statistics.stdev(found) / len(found) ** 0.5


def times(stage: Stage, listed: list[Candidate], rounds: int) -> dict[str, float]:
    """Median seconds of a whole training step with each, all of them once a round."""
    model = copy.deepcopy(stage.run.model).requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-5, fused=True)
    rates = {c.label: [p for m in c.estimator.learners for p in m.parameters()] for c in listed}
    own = {label: torch.optim.Adam(p, 0.0) for label, p in rates.items() if p}
    taken: dict[str, list[float]] = {candidate.label: [] for candidate in listed}
    for turn in range(rounds + 1):
        for candidate in listed:
            start = time.perf_counter()
            _, surrogate, *losses = stage.surrogate(candidate.estimator, stage.images, model)
            loss = -surrogate.mean()
            for other in losses:
                loss = loss + other
            for each in (optimizer, *([own[candidate.label]] if candidate.label in own else [])):
                each.zero_grad()
            loss.backward()
            optimizer.step()
            if candidate.label in own:
                own[candidate.label].step()
            if turn:
                taken[candidate.label].append(time.perf_counter() - start)
    return {label: statistics.median(each) for label, each in taken.items()}


def measure(folder: Path, step: int, images: int, learn: int, most: int, rounds: int) -> list[dict[str, Any]]:
    """The lines of one stage."""
    config = OmegaConf.load(folder / "config.yaml")
    OmegaConf.update(config, "run.dir", str(folder))
    run = build(config)  # type: ignore[arg-type]
    path = folder / f"checkpoint-{step}.pt"
    if not path.exists():
        raise UserError(f"{path} is missing; train with run.keep=[{step}], which keeps the checkpoint of that step.")
    run.load(path)
    stage = Stage(run, images, seed=0)
    variables, categories = run.model.prior_logits.shape
    listed = candidates((variables, categories), run.estimator)
    learnt = {id(learner) for learner in run.estimator.learners}
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


def markdown(lines: list[dict[str, str]], title: str) -> str:
    """The page, from the lines of the CSV file."""
    steps = list(dict.fromkeys(line["step"] for line in lines))
    page = [
        "# Gradient variance on a VAE, at stages of its training",
        "",
        f"Written by `python -m experiments.stages`; do not edit. {title}",
        "",
        "Total variance of the gradient w.r.t. the posterior's logits over that of `RLOO(2)` at the same stage, with",
        "its standard error. For biased ones the squared bias follows behind a plus, in the same unit. **time** is",
        "that of a whole training step, learning of the estimator's own modules included, over that with `RLOO(2)`:",
        "one CPU thread, median of interleaved rounds at the last stage.",
    ]
    for evaluations in ("2", "4", "8"):
        page += ["", f"## {evaluations} evaluations", ""]
        page += ["| estimator | | " + " | ".join(f"step {step}" for step in steps) + " | time |"]
        page += ["| --- | --- |" + " ---: |" * (len(steps) + 1)]
        chosen = [line for line in lines if line["evaluations"] == evaluations]
        names = {line["estimator"]: line for line in chosen}
        last = {line["estimator"]: float(line["variance"]) for line in chosen if line["step"] == steps[-1]}
        for name in sorted(names, key=lambda n: (names[n]["origin"] == "biased", last[n])):
            of_step = {line["step"]: line for line in chosen if line["estimator"] == name}
            cells = [_cell(of_step[step]) for step in steps]
            page.append(
                f"| {name} | {names[name]['origin']} | " + " | ".join([*cells, of_step[steps[-1]]["time"]]) + " |"
            )
        for step in steps:
            page += ["", _verdict([line for line in chosen if line["step"] == step], step)]
    return "\n".join(page) + "\n"


def _cell(line: dict[str, str]) -> str:
    bias = f" + {line['squared_bias']}" if line["squared_bias"] else ""
    return f"{line['variance']} ± {line['error']}{bias}"


def _verdict(lines: list[dict[str, str]], step: str) -> str:
    def best(origin: str) -> dict[str, str]:
        return min((line for line in lines if line["origin"] == origin), key=lambda line: float(line["variance"]))

    ours, published = best("ours"), best("published")
    ratio = float(published["variance"]) / float(ours["variance"])
    relative = sum((float(line["error"]) / float(line["variance"])) ** 2 for line in (ours, published)) ** 0.5
    pace = float(ours["time"]) / float(published["time"])
    return (
        f"Step {step}: of the unbiased ones ours, {ours['estimator']}, has {ratio:.2f} ± {ratio * relative:.2f} times "
        f"less variance than the best published, {published['estimator']}, at {pace:.2f} times its time per step."
    )


def main() -> None:
    """Measure and write after every stage; stages that are in the CSV file already are kept as they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="folder of a run with kept checkpoints")
    parser.add_argument("--steps", type=int, nargs="+", required=True, help="which")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--learn", type=int, default=600, help="steps of learning for modules that the run has not")
    parser.add_argument("--most", type=int, default=400, help="pairs of estimates for one variance, at most")
    parser.add_argument("--rounds", type=int, default=15, help="of timing")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder to write to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.out / "stages.csv"
    lines = read(path) if path.exists() else []
    try:
        for step in options.steps:
            if not any(line["step"] == str(step) for line in lines):
                found = measure(options.run, step, options.images, options.learn, options.most, options.rounds)
                lines += [{name: _rounded(line[name]) for name in COLUMNS} for line in found]
            write(lines, options)
    except UserError as error:
        parser.error(str(error))


def write(lines: list[dict[str, str]], options: argparse.Namespace) -> None:
    """Both files, whole, in the order of the steps."""
    options.out.mkdir(parents=True, exist_ok=True)
    lines = sorted(lines, key=lambda line: int(line["step"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    stages = [line for line in lines if line["estimator"] == "RLOO(2)"]
    title = (
        f"Modules that the run had not learned had {options.learn} steps on the frozen model; {options.images} images. "
        "The variance of `RLOO(2)`, and in its unit the squared norm of the mean gradient: "
        + "; ".join(f"{s['nats']} nats squared and {s['signal']} at step {s['step']}" for s in stages)
        + "."
    )
    write_whole(options.out / "stages.csv", lambda file: file.write(text.getvalue().encode()))
    write_whole(options.out / "stages.md", lambda file: file.write(markdown(lines, title).encode()))


def _rounded(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
