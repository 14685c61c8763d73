"""Every estimator of the library, in the variants whose behaviour differs, and the problems it is judged on."""

import itertools
import math
import random

import pytest
import torch

import discretegrad as dg

USER_TREES = {
    1: 0,
    2: (1, 0),
    3: (2, (0, 1)),
    4: ((3, 0), (1, 2)),
    5: ((4, (0, 2)), (1, 3)),
    8: (((5, 0), 7), ((1, (2, 6)), (4, 3))),
}

CATEGORICAL = {
    "reinforce": lambda c: dg.Reinforce(),
    "reinforce-3": lambda c: dg.Reinforce(3),
    "reinforce-running": lambda c: dg.Reinforce(baseline=seen(dg.nn.RunningMean(0.5))),
    "nvil": lambda c: dg.NVIL(seen(dg.nn.NVILBaseline(decay=0.5))),
    "nvil-unscaled": lambda c: dg.NVIL(seen(dg.nn.NVILBaseline(normalise=False, decay=0.5)), 2),
    "rloo-2": lambda c: dg.RLOO(),
    "rloo-3": lambda c: dg.RLOO(3),
    "var-grad": lambda c: dg.VarGrad(3),
    "tree-balanced": lambda c: dg.DisARMTree(),
    "tree-balanced-ascending": lambda c: dg.DisARMTree(order="ascending"),
    "tree-balanced-descending": lambda c: dg.DisARMTree(order="descending"),
    "tree-balanced-abs": lambda c: dg.DisARMTree(order="abs"),
    "tree-huffman": lambda c: dg.DisARMTree(tree="huffman"),
    "tree-user": lambda c: dg.DisARMTree(tree=USER_TREES[c]),
    "tree-user-descending": lambda c: dg.DisARMTree(tree=USER_TREES[c], order="descending"),
    "tree-2-pairs": lambda c: dg.DisARMTree(2),
    "sb": lambda c: dg.DisARMSB(),
    "sb-ascending": lambda c: dg.DisARMSB(order="ascending"),
    "sb-descending": lambda c: dg.DisARMSB(order="descending"),
    "sb-abs": lambda c: dg.DisARMSB(order="abs"),
    "sb-2-pairs": lambda c: dg.DisARMSB(2),
    "iw-ascending": lambda c: dg.DisARMIW(),
    "iw-2-pairs": lambda c: dg.DisARMIW(num_pairs=2),
    "iw-none": lambda c: dg.DisARMIW(order=None),
    "iw-descending": lambda c: dg.DisARMIW(order="descending"),
    "iw-abs": lambda c: dg.DisARMIW(order="abs"),
    "tree-2-pairs-averaged": lambda c: dg.DisARMTree(2, alpha=1.0),
    "flow": lambda c: dg.Flow(),
    "flow-2-pairs": lambda c: dg.Flow(dg.NearlyDistinct(2)),
    "flow-independent": lambda c: dg.Flow(dg.Independent(3)),
    "flow-tree": lambda c: dg.Flow(dg.Tree()),
    "flow-huffman": lambda c: dg.Flow(dg.Tree("huffman")),
    "carms-2": lambda c: dg.CARMS(2),
    "carms-3": lambda c: dg.CARMS(3),
    "carms-gaussian-3": lambda c: dg.CARMS(3, "gaussian"),
    "antithetic-score": lambda c: dg.Composition(dg.Tree(), dg.Score()),
    "antithetic-score-descending": lambda c: dg.Composition(dg.Tree(order="descending"), dg.Score()),
    "antithetic-score-huffman": lambda c: dg.Composition(dg.Tree("huffman"), dg.Score()),
    "ars": lambda c: dg.ARS(),
    "ars-0": lambda c: dg.ARS(0),
    "ars-distinct": lambda c: dg.ARS(distinct=True),
    "ars-plus": lambda c: dg.ARSPlus(),
    "ars-plus-1": lambda c: dg.ARSPlus(1),
    "ars-plus-kept-noise": lambda c: dg.ARSPlus(integrate=False),
    "arsm": lambda c: dg.ARSM(),
    "arsm-all-points": lambda c: dg.ARSM(distinct=False),
    "arsm-plus": lambda c: dg.ARSMPlus(),
    "arsm-plus-kept-noise": lambda c: dg.ARSMPlus(integrate=False),
    "muprop": lambda c: dg.MuProp(),
    "muprop-2": lambda c: dg.MuProp(2),
    "muprop-tree": lambda c: dg.Composition(dg.Tree(), dg.RaoBlackwell(), dg.Taylor()),
    "double-cv": lambda c: dg.DoubleCV(),
    "double-cv-3": lambda c: dg.DoubleCV(3, 0.7),
    "double-cv-learned": lambda c: dg.DoubleCV(learn=True),
    "rodeo": lambda c: dg.RODEO(),
    "rodeo-3": lambda c: dg.RODEO(3),
    "rodeo-network": lambda c: rodeo(2),
    "rodeo-network-3": lambda c: rodeo(3),
    "rebar": lambda c: dg.REBAR(0.5),
    "rebar-2": lambda c: dg.REBAR(1.5, 0.6, num_samples=2),
    "rebar-tied": lambda c: dg.REBAR(0.7, num_samples=2, tied=True),
    "rebar-loo": lambda c: dg.Composition(dg.Independent(2), dg.Score(), (dg.Relaxed(0.7), dg.LeaveOneOut())),
    "rebar-learned": lambda c: dg.REBAR(0.7, 0.9, learn=True),
    "relax": lambda c: dg.RELAX(Waves(), 0.8, 0.7),
    "relax-alone": lambda c: dg.RELAX(Waves(), 0.8, None, num_samples=2),
    "relax-alone-tied": lambda c: dg.RELAX(Waves(), 0.8, None, tied=True),
    "rloo-linear": lambda c: dg.RLOO(3, control_variate=linear()),
    "tree-linear": lambda c: dg.DisARMTree(control_variate=linear()),
    "flow-linear": lambda c: dg.Flow(control_variate=linear()),
    "quadratic": lambda c: dg.Reinforce(baseline=Curved()),
    "flow-quadratic": lambda c: dg.Flow(control_variate=Curved()),
    "exact": lambda c: dg.Exact(),
    "local": lambda c: dg.LocalExpectation(),
    "local-1": lambda c: dg.LocalExpectation(1),
    "local-2": lambda c: dg.LocalExpectation(2),
    "sum-and-sample": lambda c: dg.SumAndSample(),
    "sum-and-sample-3-2": lambda c: dg.SumAndSample(3, 2),
    "sum-and-sample-running": lambda c: dg.SumAndSample(2, baseline=seen(dg.nn.RunningMean(0.5))),
    "unordered": lambda c: dg.UnorderedSet(),
    "unordered-3": lambda c: dg.UnorderedSet(3),
    "unordered-1-plain": lambda c: dg.UnorderedSet(1, baseline=False),
    "unordered-2-plain": lambda c: dg.UnorderedSet(2, baseline=False),
    "vimco": lambda c: dg.VIMCO(),
    "vimco-3": lambda c: dg.VIMCO(3),
    "vimco-arithmetic": lambda c: dg.VIMCO(2, "arithmetic"),
    "vimco-3-arithmetic": lambda c: dg.VIMCO(3, "arithmetic"),
    "vimco-plain": lambda c: dg.VIMCO(2, None),
    "disarm-bound": lambda c: dg.DisARMBound(),
    "disarm-bound-1": lambda c: dg.DisARMBound(1, "huffman"),
    "disarm-bound-sb": lambda c: dg.DisARMBound(2, "caterpillar", "descending"),
    "straight-through": lambda c: dg.StraightThrough(),
    "straight-through-2": lambda c: dg.StraightThrough(2),
    "straight-through-cold": lambda c: dg.StraightThrough(temperature=0.5),
    "straight-through-tempered-law": lambda c: dg.StraightThrough(2, temperature=0.5, tempered_law=True),
    "argmax-st": lambda c: dg.ArgmaxST(0.7),
    "gumbel-soft": lambda c: dg.GumbelSoftmax(0.7),
    "gumbel-hard": lambda c: dg.GumbelSoftmax(0.7, hard=True, num_samples=2),
    "gumbel-rao": lambda c: dg.GumbelRao(3, 0.7, num_samples=2),
    "gapped-st": lambda c: dg.GappedST(0.7),
    "reinmax": lambda c: dg.ReinMax(),
    "reinmax-cold": lambda c: dg.ReinMax(0.5, num_samples=2),
    "reinmax-rao": lambda c: dg.ReinMaxRao(3, 0.8, num_samples=2),
    "relaxed-reinmax": lambda c: dg.RelaxedReinMax(3, 0.5, num_samples=2),
    "imle": lambda c: dg.IMLE(10.0, num_samples=2),
}

BERNOULLI = {
    "reinforce": lambda: dg.Reinforce(latent="bernoulli"),
    "rloo-2": lambda: dg.RLOO(latent="bernoulli"),
    "rloo-4": lambda: dg.RLOO(4, latent="bernoulli"),
    "var-grad": lambda: dg.VarGrad(latent="bernoulli"),
    "nvil": lambda: dg.NVIL(seen(dg.nn.NVILBaseline(decay=0.5)), latent="bernoulli"),
    "disarm": lambda: dg.DisARM(),
    "disarm-2-pairs": lambda: dg.DisARM(2),
    "flow": lambda: dg.Flow(latent="bernoulli"),
    "arm": lambda: dg.ARM(),
    "arm-2-pairs": lambda: dg.ARM(2),
    "muprop": lambda: dg.MuProp(latent="bernoulli"),
    "double-cv": lambda: dg.DoubleCV(latent="bernoulli"),
    "double-cv-3": lambda: dg.DoubleCV(3, 0.7, latent="bernoulli"),
    "rodeo": lambda: dg.RODEO(latent="bernoulli"),
    "rodeo-network-3": lambda: rodeo(3, "bernoulli"),
    "rebar": lambda: dg.REBAR(0.5, latent="bernoulli"),
    "rebar-tied": lambda: dg.REBAR(0.7, 0.9, 2, tied=True, latent="bernoulli"),
    "relax": lambda: dg.RELAX(Waves(), 0.8, 0.7, latent="bernoulli"),
    "relax-alone": lambda: dg.RELAX(Waves(), 0.8, None, latent="bernoulli"),
    "rloo-linear": lambda: dg.RLOO(2, "bernoulli", linear()),
    "disarm-linear": lambda: dg.DisARM(control_variate=linear()),
    "quadratic": lambda: dg.Reinforce(2, Curved(), "bernoulli"),
    "arms-2": lambda: dg.ARMS(2),
    "arms-4": lambda: dg.ARMS(4),
    "arms-gaussian-4": lambda: dg.ARMS(4, "gaussian"),
    "exact": lambda: dg.Exact(latent="bernoulli"),
    "local": lambda: dg.LocalExpectation(latent="bernoulli"),
    "local-2": lambda: dg.LocalExpectation(2, latent="bernoulli"),
    "sum-and-sample-2-2": lambda: dg.SumAndSample(2, 2, latent="bernoulli"),
    "unordered": lambda: dg.UnorderedSet(latent="bernoulli"),
    "unordered-3": lambda: dg.UnorderedSet(3, latent="bernoulli"),
    "unordered-2-plain": lambda: dg.UnorderedSet(2, baseline=False, latent="bernoulli"),
    "vimco-3": lambda: dg.VIMCO(3, latent="bernoulli"),
    "vimco-3-arithmetic": lambda: dg.VIMCO(3, "arithmetic", "bernoulli"),
    "disarm-bound": lambda: dg.DisARMBound(latent="bernoulli"),
    "straight-through": lambda: dg.StraightThrough(latent="bernoulli"),
    "straight-through-warm": lambda: dg.StraightThrough(1, "bernoulli", 2.0),
    "argmax-st": lambda: dg.ArgmaxST(0.7, "bernoulli"),
    "gumbel-soft": lambda: dg.GumbelSoftmax(0.7, latent="bernoulli"),
    "gumbel-hard": lambda: dg.GumbelSoftmax(0.7, hard=True, latent="bernoulli"),
    "gumbel-rao": lambda: dg.GumbelRao(3, 0.7, latent="bernoulli"),
    "gapped-st": lambda: dg.GappedST(0.7, latent="bernoulli"),
    "reinmax": lambda: dg.ReinMax(latent="bernoulli"),
    "reinmax-rao": lambda: dg.ReinMaxRao(3, 0.8, latent="bernoulli"),
    "relaxed-reinmax": lambda: dg.RelaxedReinMax(3, 0.5, latent="bernoulli"),
    "imle": lambda: dg.IMLE(10.0, num_samples=2, latent="bernoulli"),
}


JOINT = {
    "ars": lambda event_dims, latent: dg.ARS(event_dims=event_dims),
    "ars-0": lambda event_dims, latent: dg.ARS(0, event_dims),
    "ars-distinct": lambda event_dims, latent: dg.ARS(event_dims=event_dims, distinct=True),
    "ars-plus": lambda event_dims, latent: dg.ARSPlus(event_dims=event_dims),
    "ars-plus-1": lambda event_dims, latent: dg.ARSPlus(1, event_dims),
    "ars-plus-kept-noise": lambda event_dims, latent: dg.ARSPlus(event_dims=event_dims, integrate=False),
    "arsm": lambda event_dims, latent: dg.ARSM(event_dims),
    "arsm-all-points": lambda event_dims, latent: dg.ARSM(event_dims, distinct=False),
    "arsm-plus": lambda event_dims, latent: dg.ARSMPlus(event_dims),
    "arsm-plus-kept-noise": lambda event_dims, latent: dg.ARSMPlus(event_dims, integrate=False),
    "exact": lambda e, latent: dg.Exact(e, latent),
    "local": lambda e, latent: dg.LocalExpectation(None, e, latent),
    "local-1": lambda e, latent: dg.LocalExpectation(1, e, latent),
    "local-2": lambda e, latent: dg.LocalExpectation(2, e, latent),
    "sum-and-sample": lambda e, latent: dg.SumAndSample(1, 1, None, e, latent),
    "sum-and-sample-2-2": lambda e, latent: dg.SumAndSample(2, 2, None, e, latent),
    "sum-and-sample-3-2": lambda e, latent: dg.SumAndSample(3, 2, None, e, latent),
    "sum-and-sample-running": lambda e, latent: dg.SumAndSample(2, 1, seen(dg.nn.RunningMean(0.5)), e, latent),
    "unordered": lambda e, latent: dg.UnorderedSet(2, True, e, latent),
    "unordered-3": lambda e, latent: dg.UnorderedSet(3, True, e, latent),
    "unordered-1-plain": lambda e, latent: dg.UnorderedSet(1, False, e, latent),
    "unordered-2-plain": lambda e, latent: dg.UnorderedSet(2, False, e, latent),
}
"""Those whose coupling joins the variables of an event, for any number of event dimensions."""

SWAPPERS = {
    "ars": lambda **kwargs: dg.ARS(1, **kwargs),
    "ars-random": lambda **kwargs: dg.ARS(**kwargs),
    "ars-plus": lambda **kwargs: dg.ARSPlus(0, **kwargs),
    "arsm": dg.ARSM,
    "arsm-plus": dg.ARSMPlus,
}
"""Those that swap noise, for arguments of any of them."""

ALTERNATIVES = ("exact", "local", "local-1", "local-2")
"""Those that also evaluate f where variables that a mask switches off are not 0, with weight zero."""


def make(name: str, latent: str = "categorical", categories: int = 5, event_dims: int = 1) -> dg.Estimator:
    """Build an estimator of the catalogue."""
    if name in JOINT:
        return JOINT[name](event_dims, latent)
    return BERNOULLI[name]() if latent == "bernoulli" else CATEGORICAL[name](categories)


class Waves(torch.nn.Module):
    """A curved network for any number of features."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.7, 1.3, 0.4], dtype=torch.float64))

    def forward(self, features):
        place = torch.arange(1, features.shape[-1] + 1, device=features.device, dtype=features.dtype)
        return self.weight[0] * ((features * place).sum(-1) * self.weight[1] + self.weight[2]).sin()


class Bent(torch.nn.Module):
    """A number for each feature, however many there are."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.7, 1.3, 0.4], dtype=torch.float64))

    def forward(self, features):
        return self.weight[0] * (features * self.weight[1] + self.weight[2]).sin()


def linear():
    """A linear control variate for logits of any shape."""
    return dg.nn.LinearControlVariate(Bent())


class Curved(dg.nn.QuadraticControlVariate):
    """A quadratic control variate that takes the shape of whatever logits come."""

    def __init__(self):
        super().__init__((), rank=2)
        self.double()

    def _model(self, draw, batch_dims, context, dtype):
        event = draw.logits.shape[batch_dims:]
        count = torch.arange(1.0, 1.0 + 2 * event.numel(), dtype=torch.float64, device=draw.logits.device)
        if self.directions.shape[1:] != event:
            self.directions = torch.nn.Parameter(count.sin().reshape(2, *event))
        return super()._model(draw, batch_dims, context, dtype)


def rodeo(num_samples, latent="categorical"):
    """RODEO with a network whose coefficients have left 0."""
    weights = torch.tensor([[0.3, -0.8, 0.5], [0.9, 0.4, -0.6]], dtype=torch.float64)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2, dtype=torch.float64), torch.nn.Tanh())
    with torch.no_grad():
        network[0].weight.copy_(weights)
        network[0].bias.copy_(weights[:, 0])
    estimator = dg.RODEO(num_samples, network, latent)
    estimator.learners[0].double()
    estimator.learners[0].inner.data.fill_(0.8)
    estimator.learners[0].outer.data.fill_(0.6)
    return estimator


def noisy(estimator: dg.Estimator) -> bool:
    """Whether points or a control variate have continuous noise, which cannot be enumerated."""
    if isinstance(estimator, dg.Pathwise):
        return not isinstance(estimator.path, dg.pathwise.DiscretePath)
    return estimator.control_variate is not None and estimator.control_variate.noisy


def every():
    """(name, latent) of all of them."""
    return [(n, "categorical") for n in CATEGORICAL] + [(n, "bernoulli") for n in BERNOULLI]


def enumerable(estimator: dg.Estimator, categories: int) -> bool:
    """Whether the noise that its weights or points need is discrete, or can be put on the nodes of a quadrature."""
    if noisy(estimator):
        return False
    swaps = estimator.coupling.whole if isinstance(estimator, dg.Composition) else None
    if isinstance(swaps, dg.Swaps):
        return categories == 2 and swaps.reference != "random"
    if isinstance(getattr(estimator, "coupling", None), dg.Copula):  # the law of more Gaussians has no closed form
        return estimator.coupling.family == "dirichlet" or estimator.evaluations == 2
    return True


def compares(estimator: dg.Estimator) -> bool:
    """Whether it looks for equal points, and so must read how many distinct ones there are."""
    return isinstance(getattr(estimator, "coupling", None), dg.Distinct)


def seen(baseline):
    """A baseline that has a past, of values that vary by more than one."""
    baseline.update(dg.Reinforce().sample(torch.zeros(2, 2)), torch.tensor([[-3.3, 5.3]]))
    return baseline


def table_function(variables: int, categories: int):
    """A random f with interactions of all variables: differentiable, and a look-up on one-hot points."""
    table = torch.randn((categories,) * variables, dtype=torch.float64) + 0.5

    def f(points: torch.Tensor) -> torch.Tensor:
        if points.ndim == 2:  # Bernoulli [N, V]
            points = torch.stack((1 - points, points), -1)
        value = table.to(points.dtype)
        value = value.expand(points.shape[0], *table.shape)
        for v in range(variables):
            value = (value * points[:, v].reshape(points.shape[0], categories, *[1] * (variables - v - 1))).sum(1)
        return value

    return f


def logits_of(kind: str, variables: int, categories: int) -> torch.Tensor:
    """Float64 logits [V, C]: ordinary, with forbidden categories, or with a saturated variable."""
    logits = 1.5 * torch.randn(variables, categories, dtype=torch.float64)
    if kind == "forbidden" and categories > 1:
        for v in range(variables):
            logits[v, v % categories] = -torch.inf
    if kind == "saturated":
        logits[0, categories // 2] += 9.0  # leaves the others about 1e-4 together
        if variables > 1:
            logits[1, 0] += 800.0  # leaves them nothing that float64 can hold
    return logits


def outcomes(estimator: dg.Estimator, variables: int, categories: int) -> int:
    """How many joint outcomes the enumeration of an estimator's points has."""
    coupling = estimator.coupling.whole if isinstance(estimator, dg.Composition) else None
    values = categories**variables
    if isinstance(coupling, dg.Swaps):
        return 8**variables  # cells times nodes of the noise, of two categories
    if isinstance(coupling, dg.Enumerate):
        return 1
    if isinstance(coupling, dg.Alternatives):
        return values * math.comb(variables, coupling.count(variables))
    if isinstance(coupling, dg.TopAndRest):
        return values**coupling.num_samples
    if isinstance(coupling, dg.WithoutReplacement):
        return math.comb(values, min(values, coupling.k))
    points = estimator.num_samples if coupling is None else coupling.evaluations
    return values**points


def bound_points(estimator: dg.Estimator) -> int:
    """K, the points of the multi-sample bound whose mean an estimator differentiates; 1 for E f."""
    objective = getattr(estimator, "objective", None)
    if isinstance(objective, dg.objectives.MultiSampleBound):
        return estimator.evaluations
    return estimator.evaluations // 2 if isinstance(objective, dg.objectives.AntitheticBound) else 1


def truth(estimator: dg.Estimator, f, logits: torch.Tensor) -> torch.Tensor:
    """The gradient of E f, or of `E log 1/K sum_k exp f(z_k)` over all K-tuples of joint values."""
    points = bound_points(estimator)
    if points == 1:
        return dg.exact.gradient(f, logits, estimator.latent)
    leaf = logits.clone().requires_grad_()
    everything = dg.Exact(logits.ndim - (estimator.latent == "categorical"), estimator.latent).sample(leaf)
    values = f(everything.points)
    log_probs = dg.objectives.log_prob(everything.points, leaf, leaf.ndim - everything.latent.rank, estimator.latent)
    joint, total = log_probs.new_zeros(()), log_probs.new_zeros(())
    for k in range(points):
        shape = (-1, *[1] * (points - 1 - k))
        joint = joint + log_probs.reshape(shape)
        total = total + values.exp().reshape(shape)
    # What is impossible has a log-probability so low that its probability and the derivative of that are zero.
    mean = (joint.exp() * (total / points).log()).sum()
    return torch.autograd.grad(mean, leaf)[0]


def sample(estimator: dg.Estimator, logits: torch.Tensor, seed: int = 0) -> dg.Draw:
    """A draw from logits of its own."""
    return estimator.sample(logits.detach().clone().requires_grad_(), torch.Generator().manual_seed(seed))


def gradient(estimator: dg.Estimator, draw: dg.Draw, values: torch.Tensor) -> torch.Tensor:
    """The estimate from values at a draw's points."""
    return torch.autograd.grad(estimator.surrogate(draw, values).sum(), draw.logits)[0]


def relative_bias(estimator: dg.Estimator, f, logits: torch.Tensor) -> float:
    """By enumeration; the bias itself where the truth is zero."""
    expected = truth(estimator, f, logits)
    error = (dg.exact.moments(estimator, f, logits).mean - expected).norm()
    return float(error if expected.norm() == 0 else error / expected.norm())


def slow_where(slow, parameters):
    """The parameters of a test, those in `slow` with that marker."""
    names = ["-".join(map(name_of, one)) for one in parameters]
    marks = [pytest.mark.slow if one in slow else () for one in parameters]
    return [pytest.param(*one, id=name, marks=mark) for one, name, mark in zip(parameters, names, marks, strict=True)]


def name_of(part):
    """Of a parameter in the name of a test."""
    return "-".join(map(name_of, part)) if isinstance(part, tuple) else str(part).removeprefix("torch.")


def drawn_where(*axes, full=1):
    """The parameters of a test over the product of the axes, of which a part is quick and the others have the marker.

    For each combination of the first `full` axes one value of each other is quick, dealt once and for all so that all
    values are, as often as each other. That does where the axes have little to do with each other.
    """
    first, chance = list(itertools.product(*axes[:full])), random.Random(0)
    dealt = []
    for axis in axes[full:]:
        assert len(axis) <= len(first), "some values would never be quick"
        dealt.append([axis[place % len(axis)] for place in range(len(first))])
        chance.shuffle(dealt[-1])
    quick = {(*one, *others) for one, *others in zip(first, *dealt, strict=True)}
    every = list(itertools.product(*axes))
    return slow_where([one for one in every if one not in quick], every)


KINDS = ("ordinary", "forbidden", "saturated")
SIZES = tuple(itertools.product((1, 2, 3, 5, 8), (1, 2, 3)))
