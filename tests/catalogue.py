"""Every estimator of the library, in the variants whose behaviour differs, and the problems it is judged on."""

import itertools

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
    "rloo-2": lambda c: dg.RLOO(),
    "rloo-3": lambda c: dg.RLOO(3),
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
    "carms-2": lambda c: dg.CARMS(2),
    "carms-3": lambda c: dg.CARMS(3),
    "carms-gaussian-3": lambda c: dg.CARMS(3, "gaussian"),
    "antithetic-score": lambda c: dg.Composition(dg.Tree(), dg.Score()),
    "antithetic-score-descending": lambda c: dg.Composition(dg.Tree(order="descending"), dg.Score()),
    "antithetic-score-huffman": lambda c: dg.Composition(dg.Tree("huffman"), dg.Score()),
    "exact": lambda c: dg.Exact(),
    "straight-through": lambda c: dg.StraightThrough(),
    "straight-through-2": lambda c: dg.StraightThrough(2),
    "gumbel-soft": lambda c: dg.GumbelSoftmax(0.7),
    "gumbel-hard": lambda c: dg.GumbelSoftmax(0.7, hard=True, num_samples=2),
    "gumbel-rao": lambda c: dg.GumbelRao(3, 0.7, num_samples=2),
    "gapped-st": lambda c: dg.GappedST(0.7),
    "reinmax": lambda c: dg.ReinMax(),
    "reinmax-cold": lambda c: dg.ReinMax(0.5, num_samples=2),
    "imle": lambda c: dg.IMLE(10.0, num_samples=2),
}

BERNOULLI = {
    "reinforce": lambda: dg.Reinforce(latent="bernoulli"),
    "rloo-2": lambda: dg.RLOO(latent="bernoulli"),
    "rloo-4": lambda: dg.RLOO(4, latent="bernoulli"),
    "disarm": lambda: dg.DisARM(),
    "disarm-2-pairs": lambda: dg.DisARM(2),
    "arms-2": lambda: dg.ARMS(2),
    "arms-4": lambda: dg.ARMS(4),
    "arms-gaussian-4": lambda: dg.ARMS(4, "gaussian"),
    "exact": lambda: dg.Exact(latent="bernoulli"),
    "straight-through": lambda: dg.StraightThrough(latent="bernoulli"),
    "gumbel-soft": lambda: dg.GumbelSoftmax(0.7, latent="bernoulli"),
    "gumbel-hard": lambda: dg.GumbelSoftmax(0.7, hard=True, latent="bernoulli"),
    "gumbel-rao": lambda: dg.GumbelRao(3, 0.7, latent="bernoulli"),
    "gapped-st": lambda: dg.GappedST(0.7, latent="bernoulli"),
    "reinmax": lambda: dg.ReinMax(latent="bernoulli"),
    "imle": lambda: dg.IMLE(10.0, num_samples=2, latent="bernoulli"),
}


CONTINUOUS = ("gumbel-soft", "gumbel-hard", "gumbel-rao", "imle")
"""Those whose gradient is not a function of finitely many outcomes, so that none of it can be enumerated."""

LAWLESS = (*CONTINUOUS, "carms-gaussian-3", "arms-gaussian-4")
"""These, and those whose outcomes have no law in closed form: tests of them are calibrated ones."""

JOINT = {
    "exact": lambda event_dims, latent: dg.Exact(event_dims, latent),
}
"""Those whose coupling joins the variables of an event, for any number of event dimensions."""


def make(name: str, latent: str = "categorical", categories: int = 5, event_dims: int = 1) -> dg.Estimator:
    """Build an estimator of the catalogue."""
    if name in JOINT:
        return JOINT[name](event_dims, latent)
    return BERNOULLI[name]() if latent == "bernoulli" else CATEGORICAL[name](categories)


def every():
    """(name, latent) of all of them."""
    return [(n, "categorical") for n in CATEGORICAL] + [(n, "bernoulli") for n in BERNOULLI]


def seen(baseline):
    """A running mean that has a past."""
    baseline.update(dg.Reinforce().sample(torch.zeros(2, 2)), torch.tensor([[0.3, 1.7]]))
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
    points = estimator.evaluations
    return 1 if points is None else categories ** (points * variables)


KINDS = ("ordinary", "forbidden", "saturated")
SIZES = tuple(itertools.product((1, 2, 3, 5, 8), (1, 2, 3)))
