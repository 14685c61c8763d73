"""Codes that are drawn, and the gradient of their logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import discretegrad as dg
from experiments.errors import UserError
from experiments.parts import code_search
from experiments.parts.codes import Codes
from experiments.parts.estimators import drawn, require_estimator


class Sampled(NamedTuple):
    """Codes that were drawn, and the second phase of the estimator that drew them."""

    code: Tensor
    """Ids `[S, N, V]`, or points that carry the gradient, as `Codes.decode` takes them."""
    logits: Tensor
    """`[*, N, V, C]`, or `[N, V]` of bits; a chain's are those along the codes, with S in front."""
    surrogate: Callable[[Tensor], Tensor]
    """From values `[S, N]` or, local to variables, `[S, N, V]`, to the surrogate without S."""
    draw: dg.Draw | None
    """None of a chain."""


def sample(codes: Codes, projected: Tensor, estimator: dg.Estimator, generator: torch.Generator | None) -> Sampled:
    """Draw codes of vectors u `[N, W]`.

    A chain's logits depend on what was drawn, so that each of the S codes of a vector has its own: with RLOO the other
    codes of the same vector are the baseline. A path goes through all steps of one code.

    Raises:
        UserError: by `refuse_estimator`.
    """
    if not codes.chain:
        logits = codes.logits(projected)
        draw = estimator.sample(logits, generator)
        return Sampled(drawn(estimator, draw), logits, lambda values: estimator.surrogate(draw, values), draw)
    return _chain(codes, projected, estimator, generator)


def _chain(codes: Codes, projected: Tensor, estimator: dg.Estimator, generator: torch.Generator | None) -> Sampled:
    path, weights = isinstance(estimator, dg.Pathwise), codes.weights
    one = estimator if path else dg.Reinforce(1)
    rest = projected.expand(estimator.num_samples, *projected.shape)
    chosen: list[Tensor] = []
    steps: list[Tensor] = []
    for variable, table in enumerate(weights.table):
        steps.append(code_search.step(weights, variable, rest))
        draw = one.sample(steps[-1], generator)
        chosen.append(draw.points[0] if path else draw.indices[0])
        rest = rest - (chosen[-1] @ table if path else F.embedding(chosen[-1], table))
    logits = torch.stack(steps, -2)
    if path:
        return Sampled(torch.stack(chosen, -2), logits, lambda values: values.mean(0), None)
    ids, leave_one_out = torch.stack(chosen, -1), dg.BatchLeaveOneOut(0)

    def surrogate(values: Tensor) -> Tensor:
        return dg.functional.reinforce(logits, ids.unsqueeze(0), values.unsqueeze(0), leave_one_out).mean(0)

    return Sampled(ids, logits, surrogate, None)


def require_draws(estimator: dg.Estimator, latent: str, learners: bool = True) -> None:
    """Refuse an estimator that draws no codes of these latents: a batch shares them, by their first points.

    Args:
        estimator: the estimator.
        latent: of the codes.
        learners: whether it may have some.

    Raises:
        UserError: that says which one does.
    """
    require_estimator(estimator, "codes", latent)
    name = type(estimator).__name__
    if isinstance(estimator, dg.Exact | dg.SumAndSample | dg.UnorderedSet):
        raise UserError(f"the points of {name} are no draws of codes, which a batch shares; use another, such as rloo.")
    if estimator.learners and not learners:
        raise UserError(f"{name} learns, and nothing trains what learns in it here; use another, such as rloo.")


def refuse_estimator(structure: str, estimator: dg.Estimator) -> None:
    """Refuse an estimator that does not fit the codes.

    Raises:
        UserError: that says which one does.
    """
    require_draws(estimator, "bernoulli" if structure == "bits" else "categorical")
    name = type(estimator).__name__
    fits = isinstance(estimator, dg.RLOO) or (isinstance(estimator, dg.Pathwise) and estimator.num_samples == 1)
    if structure == "residual" and (not fits or estimator.learners):
        raise UserError(
            f"{name} does not fit model.structure=residual, whose logits depend on what was drawn; use estimator=rloo, "
            "or a biased path with one sample, such as straight_through."
        )
