"""Multi-sample bounds of paths through several layers of latents."""

from __future__ import annotations

from torch import Tensor

import discretegrad as dg


def behind_first(estimator: dg.Estimator, values: Tensor, score: Tensor) -> Tensor:
    """What the layers behind the first add to the surrogate of a bound, `[B]`: zero, with their gradient.

    The first layer's points are the estimator's, and each goes on by one point of every layer behind it. The first
    layer's logits follow the estimator's gradient, those of the others the signals of whole paths. The paths of a bound
    are independent of each other, so that a baseline from the others leaves both unbiased. Several points behind each,
    as in nested layers, would give an estimate of what it is worth, and the bound of estimates is another one.

    Args:
        estimator: of a multi-sample bound.
        values: what the bound is of, `log w` of every path, `[S, B]`.
        score: the log-probability of a path's points behind the first layer, `[S, B]`, with the graph of their logits.
    """
    behind = (signals_of_paths(estimator, values.detach()) * score).sum(0)
    return behind - behind.detach()


def signals_of_paths(estimator: dg.Estimator, values: Tensor) -> Tensor:
    """What multiplies the score of the layers behind the first, for each of S paths, `[S, B]`.

    Of every path the bound less a baseline from the other paths (VIMCO, Mnih, Rezende 2016, arXiv 1602.06725). The
    S = 2K paths of K antithetic pairs make two bounds, whose mean is the objective: the others are those of its own.
    """
    bounds = 2 if isinstance(estimator, dg.DisARMBound) else 1
    paths = values.unflatten(0, (-1, bounds))  # [K, bounds, B]
    objective = estimator.objective
    if not isinstance(objective, dg.objectives.MultiSampleBound):
        objective = dg.objectives.MultiSampleBound("geometric" if len(paths) > 1 else None)
    return objective.signals(paths).flatten(0, 1) / len(values)
