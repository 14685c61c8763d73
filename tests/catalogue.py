"""Every estimator of the library, in the variants whose behaviour differs, and the problems it is judged on."""

import itertools
import math

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
    "antithetic-score": lambda c: dg.Composition(dg.Tree(), dg.Score()),
    "antithetic-score-descending": lambda c: dg.Composition(dg.Tree(order="descending"), dg.Score()),
    "antithetic-score-huffman": lambda c: dg.Composition(dg.Tree("huffman"), dg.Score()),
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
    "gumbel-soft": lambda c: dg.GumbelSoftmax(0.7),
    "gumbel-hard": lambda c: dg.GumbelSoftmax(0.7, hard=True, num_samples=2),
}

BERNOULLI = {
    "reinforce": lambda: dg.Reinforce(latent="bernoulli"),
    "rloo-2": lambda: dg.RLOO(latent="bernoulli"),
    "rloo-4": lambda: dg.RLOO(4, latent="bernoulli"),
    "var-grad": lambda: dg.VarGrad(latent="bernoulli"),
    "nvil": lambda: dg.NVIL(seen(dg.nn.NVILBaseline(decay=0.5)), latent="bernoulli"),
    "disarm": lambda: dg.DisARM(),
    "disarm-2-pairs": lambda: dg.DisARM(2),
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
    "gumbel-soft": lambda: dg.GumbelSoftmax(0.7, latent="bernoulli"),
    "gumbel-hard": lambda: dg.GumbelSoftmax(0.7, hard=True, latent="bernoulli"),
}


JOINT = {
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

ALTERNATIVES = ("exact", "local", "local-1", "local-2")
"""Those that also evaluate f where variables that a mask switches off are not 0, with weight zero."""


def make(name: str, latent: str = "categorical", categories: int = 5, event_dims: int = 1) -> dg.Estimator:
    """Build an estimator of the catalogue."""
    if name in JOINT:
        return JOINT[name](event_dims, latent)
    return BERNOULLI[name]() if latent == "bernoulli" else CATEGORICAL[name](categories)


def every():
    """(name, latent) of all of them."""
    return [(n, "categorical") for n in CATEGORICAL] + [(n, "bernoulli") for n in BERNOULLI]


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
    coupling, values = getattr(estimator, "coupling", None), categories**variables
    if isinstance(coupling, dg.Enumerate):
        return 1
    if isinstance(coupling, dg.Alternatives):
        return values * math.comb(variables, coupling.count(variables))
    if isinstance(coupling, dg.TopAndRest):
        return values**coupling.num_samples
    if isinstance(coupling, dg.WithoutReplacement):
        return math.comb(values, min(values, coupling.k))
    return values**estimator.evaluations


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


KINDS = ("ordinary", "forbidden", "saturated")
SIZES = tuple(itertools.product((1, 2, 3, 5, 8), (1, 2, 3)))
