"""A variational autoencoder with discrete latents, in the setting of Dong, Mnih, Tucker 2021 (arXiv 2106.08056)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from discretegrad.objectives import log_prob
from experiments.errors import UserError
from experiments.parts.images import log_likelihood
from experiments.parts.networks import perceptron, require_choice, require_sizes


class Terms(NamedTuple):
    """The terms of the ELBO at the points, each `[S, B]`."""

    log_likelihood: Tensor
    log_prior: Tensor
    log_posterior: Tensor

    @property
    def elbo(self) -> Tensor:
        """`log p(x, z) - log q(z | x)`, `[S, B]`."""
        return self.log_likelihood + self.log_prior - self.log_posterior


class VAE(nn.Module):
    """Encoder to V latent variables, decoder to pixels, and a prior with learned logits.

    Args:
        mean: the training images' mean, `[D]`: the encoder's input is centred by it, the decoder's bias starts there.
        variables: V.
        categories: C; ignored for Bernoulli latents.
        latent: "categorical" or "bernoulli".
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        slope: of the leaky rectifiers below zero; 0 for plain ones.
        inputs: "points", or "ids" for a decoder whose first layer adds the rows that ids name, so that no one-hots are
            made. The same function with the same parameters, but for the transpose of that layer's weight.
        prior: "learned", or "uniform".
        init: of the weights: see `perceptron`.
        centred: whether the encoder sees images without their mean, the decoder points of -1 and 1, and its last bias
            starts at the mean. False: images as they are, points of 0 and 1, a bias like any other.
    """

    mean: Tensor

    def __init__(
        self,
        mean: Tensor,
        variables: int = 20,
        categories: int = 10,
        latent: str = "categorical",
        hidden: Sequence[int] = (512, 256),
        slope: float = 0.2,
        inputs: str = "points",
        prior: str = "learned",
        init: str = "xavier",
        centred: bool = True,
    ) -> None:
        super().__init__()
        require_sizes(hidden, latent, variables=variables, categories=categories)
        require_choice("inputs", inputs, "points", "ids")
        require_choice("prior", prior, "learned", "uniform")
        require_choice("init", init, "xavier", "torch")
        if inputs == "ids" and latent == "bernoulli":
            raise UserError(
                "model.inputs=ids spares one-hots, which Bernoulli latents have not; use model.inputs=points."
            )
        self.latent, self.inputs, self.centred = latent, inputs, centred
        event = (variables,) if latent == "bernoulli" else (variables, categories)
        self.register_buffer("mean", mean if centred else torch.zeros_like(mean))
        self.prior_logits = nn.Parameter(torch.zeros(event), requires_grad=prior == "learned")
        width = self.prior_logits.numel()
        bias = mean.clamp(1e-3, 1 - 1e-3).logit() if centred else None
        self.encoder = perceptron((mean.numel(), *hidden, width), slope, init=init)
        self.decoder = perceptron((width, *reversed(hidden), mean.numel()), slope, bias, init)
        if inputs == "ids":
            first: Any = self.decoder[0]
            self.decoder[0] = dg.nn.OneHotLinear.from_linear(
                first, variables, categories, low=-1.0 if centred else 0.0, high=1.0
            )

    def posterior_logits(self, images: Tensor) -> Tensor:
        """Logits of q(z | x), `[B, V, C]` or `[B, V]`, for images `[B, D]`."""
        return self.encoder(images - self.mean).reshape(-1, *self.prior_logits.shape)

    def inputs_of(self, draw: dg.Draw) -> Tensor:
        """What `terms` and `pixel_logits` are called with: the draw's points, or its ids."""
        return draw.indices if self.inputs == "ids" else draw.points

    def terms_of(self, images: Tensor, draw: dg.Draw, estimator: dg.Estimator) -> Terms:
        """The terms at the points of an estimator's draw."""
        ids = draw.indices if estimator.takes_ids else None
        return self.terms(images, self.inputs_of(draw), draw.logits, estimator.of_bound, ids)

    def pixel_logits(self, points: Tensor) -> Tensor:
        """Logits of the pixels, `[S, B, D]`, for points `[S, B, V, C]` or `[S, B, V]`; for ids if it takes them."""
        if self.inputs == "ids":
            return self.decoder(points)
        return self.decoder(2 * points.flatten(2) - 1 if self.centred else points.flatten(2))

    def terms(
        self,
        images: Tensor,
        points: Tensor,
        posterior_logits: Tensor,
        of_bound: bool = False,
        ids: Tensor | None = None,
    ) -> Terms:
        """The ELBO's terms at the points.

        Where `ids` are given, those of the points, log-probabilities are gathered by them instead of multiplied with
        one-hots: the same numbers, in less time, but without a gradient in the points.

        The posterior's logits are detached in log q: the mean of its explicit gradient is zero, so with it the
        gradient would only be noisier. Not so in a multi-sample bound (`of_bound`).
        """
        logits = self.pixel_logits(points)
        chosen = points if ids is None else ids
        return Terms(
            log_likelihood=log_likelihood(images, logits),
            log_prior=log_prob(chosen, self.prior_logits, latent=self.latent),
            log_posterior=log_prob(
                chosen, posterior_logits if of_bound else posterior_logits.detach(), latent=self.latent
            ),
        )
