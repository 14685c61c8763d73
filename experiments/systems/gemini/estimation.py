"""What the tokenizer learns from: the objective at drawn tokens, the whole of it or what each token has a part in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import discretegrad as dg
from experiments.engine import finite
from experiments.errors import UserError
from experiments.parts.estimators import drawn, require_estimator
from experiments.parts.images import log_likelihood
from experiments.systems.gemini.model import Gemini, Terms

CREDITS = ("whole", "later", "own")
LOCAL = (dg.RLOO, dg.VarGrad, dg.DisARMTree, dg.DisARMSB, dg.DisARMIW, dg.Flow)
"""Estimators that take a value for each token: unbiased here by enumeration."""


class Surrogate(NamedTuple):
    """Of the objective of a batch."""

    surrogate: Tensor
    """`[B]`, with the gradients of all that learns."""
    draw: dg.Draw
    values: Tensor
    """What the estimator saw, `[S, B]` or `[S, B, V]`."""


def values(terms: Terms, credit: str) -> Tensor:
    """What the estimator is given of `f = log p(x | z) + sum_v [log p_LM(z_v | z_<v, caption) - log q(z_v | x)]`.

    A term that a token has no part in multiplies its score function to a mean of zero. The terms of the language model
    at the places before v do not see z_v, and neither does the posterior of any other token, so that for v all of these
    have the same gradient in the mean:

        whole    f
        later    log p(x | z) + sum_{u >= v} [log p_LM(z_u | z_<u, caption) - log q(z_u | x)]
        own      log p(x | z) + sum_{u >= v} log p_LM(z_u | z_<u, caption) - log q(z_v | x)

    Which of them has the least variance is another question: where the posterior is good, f is nearly constant, and its
    parts are not.

    Returns:
        `[S, B]` for "whole", else `[S, B, V]`.
    """
    likelihood, prior, posterior = terms
    if credit == "whole":
        return terms.elbo
    if credit == "later":
        return likelihood.unsqueeze(-1) + _from_here(prior - posterior)
    return likelihood.unsqueeze(-1) + _from_here(prior) - posterior


def joint(
    model: Gemini,
    images: Tensor,
    captions: Tensor,
    estimator: dg.Estimator,
    credit: str,
    weight: float,
    context: Tensor,
    generator: torch.Generator,
) -> Surrogate:
    """The surrogate of E f.

    Args:
        model: the model.
        images, captions: `[B, H * W]` and int64 `[B, L]`.
        estimator: of the gradient w.r.t. the tokens' logits.
        credit: one of `CREDITS`.
        weight: of `log p_LM - log q` in f, 1 in the ELBO.
        context: of what learns inside the estimator, `[B, ...]`.
        generator: of the draw.
    """
    draw, codes = _drawn(model, images, estimator, generator)
    terms = model.terms(images, captions, codes, draw.logits.detach()).weighted(weight)
    finite(terms._asdict())
    seen = values(terms, credit)
    if credit == "whole":
        return Surrogate(estimator.surrogate(draw, seen, context), draw, seen)
    seen = seen.detach()
    by_token = estimator.surrogate(draw, seen)  # the terms' own parameters follow f, in which each counts once
    return Surrogate((by_token - by_token.detach()).sum(-1) + terms.elbo.mean(0), draw, seen)


def alone(
    model: Gemini,
    images: Tensor,
    estimator: dg.Estimator,
    weight: float,
    context: Tensor,
    generator: torch.Generator,
) -> Surrogate:
    """The surrogate of a discrete VAE: `E log p(x | z)` less the divergence from a uniform prior in closed form.

    Args:
        weight: of the divergence, 1 in the ELBO.
        model, images, estimator, context, generator: see `joint`.
    """
    draw, codes = _drawn(model, images, estimator, generator)
    likelihood = model.log_likelihood(images, codes)
    finite({"log_likelihood": likelihood})
    surrogate = estimator.surrogate(draw, likelihood, context) - weight * dg.objectives.kl(draw.logits)
    return Surrogate(surrogate, draw, likelihood)


def nearest(model: Gemini, images: Tensor, commitment: float) -> tuple[Tensor, Tensor]:
    """The loss `[B]` of a VQ-VAE, where the codewords' gradient is copied to the encoder's vectors; its ids `[B, V]`.

    `-log p(x | z) + |sg(e) - c|^2 + commitment |e - sg(c)|^2`, summed over the grid, with sg what stops a gradient:
    van den Oord, Vinyals, Kavukcuoglu 2017 (arXiv 1711.00937), equation 3.
    """
    vectors = model.tokenizer.encode(images)
    ids = model.tokenizer.logits(vectors).argmax(-1)
    codewords = model.tokenizer.codewords(ids)
    passed = vectors + (codewords - vectors).detach()
    likelihood = log_likelihood(images, model.tokenizer.decode(passed))
    finite({"log_likelihood": likelihood})
    learned = (vectors.detach() - codewords).square().sum((1, 2))
    committed = (vectors - codewords.detach()).square().sum((1, 2))
    return learned + commitment * committed - likelihood, ids


def refuse(estimator: dg.Estimator, credit: str) -> None:
    """Refuse what does not fit together.

    Raises:
        UserError: that says what does.
    """
    name = type(estimator).__name__
    if credit not in CREDITS:
        raise UserError(f"task.credit is {', '.join(CREDITS[:-1])} or {CREDITS[-1]}, not {credit!r}.")
    require_estimator(estimator, "tokens", "categorical")
    if credit != "whole" and (not isinstance(estimator, LOCAL) or estimator.learners):
        raise UserError(
            f"{name} takes one value for all tokens; give task.credit=whole, or estimator=rloo, flow or disarm_tree."
        )


def spoken(model: Gemini, captions: Tensor, ids: Tensor, alone: bool) -> Tensor:
    """What the language model has to learn of a batch: streams, and without an objective that has it the images alone.

    Args:
        model: the model.
        captions, ids: int64 `[B, L]` and `[B, V]`.
        alone: whether the tokenizer rests, or has no objective that the language model is in.

    Returns:
        A scalar, nats per image.
    """
    loss = model.language.streams(captions, ids)
    return loss - model.language.log_prob(captions, ids.unsqueeze(0)).sum(-1).mean() if alone else loss


def _drawn(
    model: Gemini, images: Tensor, estimator: dg.Estimator, generator: torch.Generator
) -> tuple[dg.Draw, Tensor]:
    """A draw of the tokens, and what the terms take of it."""
    logits = model.posterior_logits(images)
    finite({"log_posterior": logits})
    draw = estimator.sample(logits, generator)
    return draw, drawn(estimator, draw)


def _from_here(terms: Tensor) -> Tensor:
    """Of each place the sum from there on, over the last dimension."""
    return terms.flip(-1).cumsum(-1).flip(-1)
