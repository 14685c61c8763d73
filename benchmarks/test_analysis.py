"""Replicates of a gradient as `analysis.compare` draws and takes them in, beside a plain loop of backward passes.

The loop is what people write: for every replicate the model's forward pass, the estimator, and `backward` to the logits
(on the VAE through f's and the encoder's parameters too, since it is the training step). The loop's time over the
comparison's, both for as many replicates, says how many times the replicates per second there are.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import discretegrad as dg
from benchmarks.sizes import SMALL, Setting
from benchmarks.steps import Step
from benchmarks.timing import beside, report, time_rows
from discretegrad.analysis.measuring import Stream
from discretegrad.analysis.record import Record
from discretegrad.analysis.replicator import Problem
from discretegrad.analysis.sources import OfFunction

COUNTS = {"toy": 64 if SMALL else 1024, "vae": 4 if SMALL else 32}


def squared_distance(points: Tensor) -> Tensor:
    """The classic toy, E[mean_v (z_v - 0.499)^2]; of categories spread over [0, 1]."""
    if points.shape[-1] == 10:
        points = points @ torch.linspace(0.0, 1.0, 10)
    return (points - 0.499).square().mean(-1)


TOYS: dict[str, tuple[Setting, dict[str, dg.Estimator]]] = {
    "toy, Bernoulli, V=200": (
        Setting(200, 2, "bernoulli", batch=1),
        {"rloo-2": dg.RLOO(2, "bernoulli"), "disarm-2": dg.DisARM(), "relax": dg.REBAR(latent="bernoulli")},
    ),
    "toy, categorical, V=20": (
        Setting(20, 10, batch=1),
        {
            "rloo-2": dg.RLOO(2),
            "tree-2": dg.DisARMTree(),
            "double-cv-2": dg.DoubleCV(),
            "gumbel-softmax": dg.GumbelSoftmax(),
        },
    ),
}
CASES = [(case, name) for case, (_, estimators) in TOYS.items() for name in estimators]
VAES = {"rloo-2": dg.RLOO(2), "tree-2": dg.DisARMTree(), "rloo-4": dg.RLOO(4)}


def measure(benchmark, suite_case, setting, name, source, estimator, loop, count):
    stream, record = Stream(source, estimator, seed=0), Record.of(estimator, source.sizes, seed=0)
    truth = torch.ones(sum(source.sizes.values()), dtype=torch.float64)  # any: its cosine is taken

    def compared() -> None:
        for gradients, evaluations in stream.take(count):
            record.add(gradients, evaluations, truth, stream.states)

    def looped() -> None:
        for _ in range(count):
            loop()

    benchmark.group = f"replicates: {suite_case}"
    seconds = beside(benchmark, {"comparison": compared, "loop": looped})
    if seconds:
        case = {"suite": "replicates", "case": f"{suite_case}, {name}", "S": estimator.evaluations, **setting.columns}
        report(benchmark, time_rows(case, seconds, over=["comparison"]))


@pytest.mark.parametrize(("case", "name"), CASES)
def test_toy(benchmark, case, name):
    setting, estimators = TOYS[case]
    logits, estimator = torch.zeros(setting.event), estimators[name]

    def loop() -> None:
        leaf = logits.clone().requires_grad_()
        draw = estimator.sample(leaf)
        estimator.surrogate(draw, squared_distance(draw.points)).backward()

    source = OfFunction(Problem(squared_distance, logits))
    measure(benchmark, case, setting, name, source, estimator, loop, COUNTS["toy"])


@pytest.mark.parametrize("name", VAES)
def test_vae(benchmark, name):
    setting = Setting(3, 4) if SMALL else Setting(32, 16, batch=100)
    step, estimator = Step(setting), VAES[name]

    def loop() -> None:
        logits = step.logits()
        logits.retain_grad()
        draw = estimator.sample(logits)
        estimator.surrogate(draw, step.values(draw.points, logits)).sum().backward()

    source = OfFunction(Problem(f_of(step), step.logits().detach()))
    measure(benchmark, "VAE's logits", setting, name, source, estimator, loop, COUNTS["vae"])


def f_of(step: Step) -> Callable[[Tensor], Tensor]:
    """The ELBO of points, at logits that stay."""
    logits = step.logits().detach()
    return lambda points: step.values(points, logits)
