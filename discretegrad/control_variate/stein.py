"""Stein operators of discrete laws: functions of the points whose mean is zero whatever they are made from."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.autograd import append_dims
from discretegrad.control_variate.base import ControlVariate, Evaluation, Residual
from discretegrad.control_variate.taylor import needed, needs_others, over_event
from discretegrad.coupling import Coupling
from discretegrad.frozen import frozen
from discretegrad.ops import taylor as taylor_ops


class OthersStein(ControlVariate):
    """The Gibbs operator `(A h)(z) = sum_v (E[h | all but z_v] - h(z))` of functions made from the other points.

        g = mean_s ((f_s - mean_{t != s} (f_t + inner A h_t(z_t))) (e_{z_s} - p) + outer A (h'_s score)(z_s))

    h_s and h'_s depend on the points other than s only, so both means are zero given those.
    """

    inner: float | Tensor
    outer: float | Tensor
    constant = False
    needs_grad_f = True

    def refuse(self, coupling: Coupling) -> None:
        needs_others(coupling, "values and gradients of f at the other points are")


@frozen
class Stein(OthersStein):
    """`OthersStein` with the linear surrogate `h(y) = mean_{t != s} grad f(z_t) . (y - p)`, in closed form.

    By default so that on an f which is additive over variables nothing of the other variables is left.

    Source: Shi, Zhou, Hwang, Titsias, Mackey 2022, arXiv 2202.09497.
    """

    inner: float = 1.0
    outer: float = 0.5

    def constant_of(self, evaluation: Evaluation) -> Tensor:
        return evaluation.values[:1]

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """In closed form.

        With `a_v = slope_v . (z_v - p_v)`: `A h = -sum_v a_v`, and for the score of variable d
        `A (h score_d) = (diag p_d - p_d p_d^T) slope_d - (2 sum_v a_v - a_d) score_d`.
        """
        draw, values, probs = evaluation.draw, evaluation.values, evaluation.draw.probs
        slopes = needed(evaluation)
        points = values.shape[0]
        total = slopes.sum(0)
        own = taylor_ops.at(slopes, draw.indices) - taylor_ops.at_mean(slopes, probs)
        local = (taylor_ops.at(total, draw.indices) - taylor_ops.at_mean(total, probs) - own) / (points - 1)
        linear = over_event(local, values.ndim)
        baseline = _mean_of_others(values - self.inner * linear)
        dims = local.ndim
        left = append_dims(values - baseline - 2 * self.outer * linear, dims) + self.outer * local
        return Residual(left, self.outer * taylor_ops.gradient_of_mean(total / points, probs))


class AnyStein(OthersStein):
    """`OthersStein` with surrogates that are any function of the Taylor terms of f at the other points."""

    def surrogates(self, features: Tensor) -> Tensor:
        """h and h', `[..., 2]`, from `f_t`, `grad f_t . (y - z_t)` and `grad f_t . (y - p)`, `[..., 3]`."""
        raise NotImplementedError

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """The surrogates are asked at every point and at its neighbours, which differ from it in one variable."""
        draw, values, probs = evaluation.draw, evaluation.values, evaluation.draw.probs
        slopes, dims = needed(evaluation), draw.indices.ndim
        points = values.shape[0]
        others = _others(points, values)  # [S, S - 1]
        of_other = slopes[others]
        at_point = taylor_ops.at(of_other, draw.indices.unsqueeze(1))  # [S, S - 1, *variables]
        own = over_event(taylor_ops.at(slopes, draw.indices), values.ndim)[others]
        mean = over_event(taylor_ops.at_mean(slopes, probs), values.ndim)[others]
        reached = over_event(at_point, values.ndim + 1)  # [S, S - 1, *batch]
        here = torch.stack((values[others], reached - own, reached - mean), -1)
        step = of_other - at_point.unsqueeze(-1)  # what a neighbour adds to the last two
        value, *moved = (append_dims(feature, step.ndim) for feature in here.unbind(-1))
        there = torch.stack((value.expand(step.shape), *(feature + step for feature in moved)), -1)
        # The mean over the other points of the surrogates' outputs.
        at_z, second_at_z = _mean(self.surrogates(here)).unbind(-1)  # [S, *batch]
        first, second = _mean(self.surrogates(there)).unbind(-1)  # at the neighbours, [S, *variables, C]
        inner = over_event(taylor_ops.at_mean(first, probs) - append_dims(at_z, dims), values.ndim)  # A h
        values = values - values[:1]  # a constant cancels from here on, but not in the surrogates
        baseline = _mean_of_others(values + self.inner * inner)
        mean_of_second, added_back = taylor_ops.mean_and_gradient(second, probs)
        change = mean_of_second - append_dims(second_at_z, dims)
        # Where another variable moves the score stays; where its own moves, the score moves with it.
        elsewhere = append_dims(over_event(change, values.ndim) - second_at_z, dims) - change
        left = append_dims(values - baseline, dims) + self.outer * elsewhere
        return Residual(left, self.outer * added_back.mean(0))


def _mean(of_others: Tensor) -> Tensor:
    """Of `[S, S - 1, ...]` over the other points, of which there may be one."""
    return of_others.squeeze(1) if of_others.shape[1] == 1 else of_others.mean(1)


def _mean_of_others(values: Tensor) -> Tensor:
    return (values.sum(0) - values) / (values.shape[0] - 1)


def _others(points: int, like: Tensor) -> Tensor:
    """`[S, S - 1]`, all numbers but the row's own."""
    shift = torch.arange(1, points, device=like.device)
    return (torch.arange(points, device=like.device).unsqueeze(-1) + shift) % points
