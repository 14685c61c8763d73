"""A training step of the VAE: with an estimator, and at the limit, with points and a gradient that were there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

import discretegrad as dg
from benchmarks.sizes import HIDDEN, PIXELS, Setting
from experiments.parts.networks import side_network
from experiments.systems.vae.model import VAE

INPUTS = ("points", "ids")
"""What the decoder and the posterior are given."""


class Step:
    """One optimiser step on a fixed batch."""

    def __init__(self, setting: Setting, inputs: str = "points") -> None:
        torch.manual_seed(0)
        self.setting = setting
        self.images = (torch.rand(setting.batch, PIXELS) < 0.2).float()
        mean = torch.full((PIXELS,), 0.2)
        self.model = VAE(mean, setting.variables, setting.categories, setting.latent, HIDDEN, inputs=inputs)
        self.optimizers = [adam(self.model.parameters())]

    def logits(self) -> Tensor:
        """Of the posterior, with their graph."""
        return self.model.posterior_logits(self.images)

    def values(self, points: Tensor, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        """f: the ELBO at points, or at ids; with both the log-probabilities are gathered."""
        return self.model.terms(self.images, points, logits, ids=ids).elbo

    def __call__(self, estimator: dg.Estimator, generator: torch.Generator | None = None) -> None:
        """With an estimator, and what learns in it."""
        logits = self.logits()
        draw = estimator.sample(logits, generator)
        values = self.model.terms_of(self.images, draw, estimator).elbo
        context = self.images - self.model.mean
        loss = -estimator.surrogate(draw, values, context).mean()
        for learner in estimator.learners:
            loss = loss + learner.loss(draw, values, context)
        self.finish(loss)
        for learner in estimator.learners:
            learner.update(draw, values.detach(), context)

    def limit(self, points: Tensor, ids: Tensor | None, gradient: Tensor) -> None:
        """At points, and with a gradient, that cost nothing; without ids as f is where it has none."""
        logits = self.logits()
        values = self.values(points, logits, ids)
        self.finish(-dg.functional.attach_gradient(values.mean(0), logits, gradient).mean())

    def given(self, points: int, ids: bool = True) -> tuple[Tensor, Tensor | None, Tensor]:
        """So many points, with their ids or without, and a gradient, for the limit."""
        logits = torch.randn(self.setting.batch, *self.setting.event)
        draw = dg.Reinforce(points, latent=self.setting.latent).sample(logits)
        return self.model.inputs_of(draw), draw.indices if ids else None, torch.randn_like(logits)

    def adopt(self, estimator: dg.Estimator) -> None:
        """Give the estimator's own modules their shapes, and an optimiser."""
        self(estimator)
        learnt = [parameter for learner in estimator.learners for parameter in learner.parameters()]
        if learnt:
            self.optimizers.append(adam(learnt))

    def finish(self, loss: Tensor) -> None:
        """Backward and the optimisers."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
    """As the experiments have it."""
    return torch.optim.Adam(parameters, 1e-3, fused=True)


def evaluations(estimator: dg.Estimator, setting: Setting) -> int:
    """How many points a step has, those of a control variate included."""
    return estimator.sample(torch.zeros(setting.batch, *setting.event)).evaluations


def network(width: int, outputs: int = 1) -> nn.Module:
    """From a context of any size."""
    return nn.Sequential(nn.LazyLinear(width), nn.LeakyReLU(0.3), nn.Linear(width, outputs))


def linear(setting: Setting) -> dg.nn.LinearControlVariate:
    """A linear function of the points from the image."""
    return dg.nn.LinearControlVariate(side_network(512, setting.event))


def quadratic(setting: Setting) -> dg.nn.QuadraticControlVariate:
    """f's value and slope at the mean, and a curvature of rank 64."""
    return dg.nn.QuadraticControlVariate(setting.event, side_network(128, (65,)))


def stein_network() -> nn.Module:
    """RODEO's."""
    return nn.Sequential(nn.Linear(3, 100), nn.LeakyReLU(0.3), nn.Linear(100, 2))


Build = Callable[[Setting], dg.Estimator]

BOTH: dict[str, Build] = {  # for either kind of latents
    # one evaluation
    "reinforce-1": lambda s: dg.Reinforce(latent=s.latent),
    "reinforce-running-mean-1": lambda s: dg.Reinforce(baseline=dg.nn.RunningMean(), latent=s.latent),
    "nvil-1": lambda s: dg.NVIL(network(100), latent=s.latent),
    "relax-network-alone-1": lambda s: dg.RELAX(network(100), 0.5, None, latent=s.latent, tied=True),
    "straight-through-1": lambda s: dg.StraightThrough(latent=s.latent),
    "gumbel-softmax-1": lambda s: dg.GumbelSoftmax(latent=s.latent),
    "gumbel-softmax-hard-1": lambda s: dg.GumbelSoftmax(hard=True, latent=s.latent),
    "gumbel-rao-1": lambda s: dg.GumbelRao(latent=s.latent),
    "gapped-st-1": lambda s: dg.GappedST(latent=s.latent),
    "reinmax-1": lambda s: dg.ReinMax(latent=s.latent),
    "imle-1": lambda s: dg.IMLE(float(s.batch), latent=s.latent),
    # two
    "rloo-2": lambda s: dg.RLOO(2, s.latent),
    "var-grad-2": lambda s: dg.VarGrad(2, s.latent),
    "flow-2": lambda s: dg.Flow(latent=s.latent),
    "unordered-set-2": lambda s: dg.UnorderedSet(2, latent=s.latent),
    "sum-and-sample-2": lambda s: dg.SumAndSample(latent=s.latent),
    "muprop-2": lambda s: dg.MuProp(latent=s.latent),
    "double-cv-2": lambda s: dg.DoubleCV(latent=s.latent),
    "double-cv-learned-2": lambda s: dg.DoubleCV(learn=True, latent=s.latent),
    "rodeo-2": lambda s: dg.RODEO(latent=s.latent),
    "rodeo-network-2": lambda s: dg.RODEO(2, stein_network(), latent=s.latent),
    "rebar-tied-2": lambda s: dg.REBAR(tied=True, learn=True, latent=s.latent),
    "vimco-2": lambda s: dg.VIMCO(2, latent=s.latent),
    "disarm-bound-2": lambda s: dg.DisARMBound(1, latent=s.latent),
    # three
    "rebar-3": lambda s: dg.REBAR(learn=True, latent=s.latent),
    "relax-3": lambda s: dg.RELAX(network(100), latent=s.latent),
    # four
    "rloo-4": lambda s: dg.RLOO(4, s.latent),
    "var-grad-4": lambda s: dg.VarGrad(4, s.latent),
    "unordered-set-4": lambda s: dg.UnorderedSet(4, latent=s.latent),
    "sum-and-sample-4": lambda s: dg.SumAndSample(1, 3, latent=s.latent),
    "double-cv-learned-4": lambda s: dg.DoubleCV(4, learn=True, latent=s.latent),
    "rodeo-4": lambda s: dg.RODEO(4, latent=s.latent),
    "rebar-tied-4": lambda s: dg.REBAR(num_samples=2, tied=True, learn=True, latent=s.latent),
    "vimco-4": lambda s: dg.VIMCO(4, latent=s.latent),
    "disarm-bound-4": lambda s: dg.DisARMBound(2, latent=s.latent),
}
CATEGORICAL: dict[str, Build] = {
    **BOTH,
    "tree-2": lambda s: dg.DisARMTree(),
    "tree-ascending-2": lambda s: dg.DisARMTree(order="ascending"),
    "tree-huffman-2": lambda s: dg.DisARMTree(tree="huffman"),
    "sb-2": lambda s: dg.DisARMSB(),
    "sb-ascending-2": lambda s: dg.DisARMSB(order="ascending"),
    "iw-2": lambda s: dg.DisARMIW(),
    "carms-2": lambda s: dg.CARMS(2),
    "rloo-linear-2": lambda s: dg.RLOO(2, control_variate=linear(s)),
    "flow-linear-2": lambda s: dg.Flow(control_variate=linear(s)),
    "quadratic-2": lambda s: dg.Reinforce(1, quadratic(s)),
    "tree-4": lambda s: dg.DisARMTree(2),
    "sb-4": lambda s: dg.DisARMSB(2),
    "iw-4": lambda s: dg.DisARMIW(num_pairs=2),
    "carms-4": lambda s: dg.CARMS(4),
    "flow-4": lambda s: dg.Flow(dg.NearlyDistinct(2)),
    "quadratic-4": lambda s: dg.Reinforce(3, quadratic(s)),
    "local-expectation": lambda s: dg.LocalExpectation(1),
}
BERNOULLI: dict[str, Build] = {
    **BOTH,
    "disarm-2": lambda s: dg.DisARM(),
    "arm-2": lambda s: dg.ARM(),
    "arms-2": lambda s: dg.ARMS(2),
    "local-expectation-2": lambda s: dg.LocalExpectation(1, latent=s.latent),
    "disarm-4": lambda s: dg.DisARM(2),
    "arm-4": lambda s: dg.ARM(2),
    "arms-4": lambda s: dg.ARMS(4),
}


def estimators(setting: Setting) -> dict[str, Build]:
    """Those that the setting is for."""
    return BERNOULLI if setting.latent == "bernoulli" else CATEGORICAL
