"""What systems ask of an estimator, and what their f takes of its draws."""

from __future__ import annotations

from torch import Tensor

import discretegrad as dg
from experiments.errors import UserError


def require_estimator(
    estimator: dg.Estimator, what: str, latent: str, looked_up: bool = False, learns: bool = True
) -> None:
    """Refuse an estimator that does not fit E f of such latents.

    Args:
        estimator: the estimator.
        what: is drawn, as a plural.
        latent: categorical or bernoulli.
        looked_up: whether f takes ids alone, and has no gradient in them.
        learns: whether what an estimator learns beside the model is moved.

    Raises:
        UserError: that says which one fits.
    """
    name = type(estimator).__name__
    if estimator.latent != latent:
        raise UserError(
            f"{name} is for {estimator.latent} latents, but these {what} are {latent} ones; give "
            f"estimator.latent={latent}, or another estimator."
        )
    if estimator.of_bound:
        raise UserError(
            f"{name} differentiates a multi-sample bound, where {what} are judged by E f; use another, such as rloo."
        )
    if looked_up and not estimator.takes_ids:
        raise UserError(
            f"{name} needs the gradient of f in its points, and where {what} are looked up there is none; use another, "
            "such as rloo."
        )
    if estimator.learners and not learns:
        raise UserError(
            f"{name} learns beside the model, and where {what} are drawn nothing moves what it learns; use another, "
            "such as rloo."
        )


def drawn(estimator: dg.Estimator, draw: dg.Draw) -> Tensor:
    """What f is asked at: ids `[S, *]` where it may, else points `[S, *, C]`."""
    return draw.indices if estimator.takes_ids else draw.points


def asked_on(estimator: dg.Estimator) -> str:
    """The same, for `Watch.on`."""
    return "ids" if estimator.takes_ids else "points"
