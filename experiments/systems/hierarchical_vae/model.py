"""Several layers of discrete latents, in the setting of Dong, Mnih, Tucker 2020 (arXiv 2006.10680)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import discretegrad as dg
from discretegrad.objectives import log_prob
from experiments.errors import UserError
from experiments.parts.images import log_likelihood
from experiments.parts.networks import perceptron, require_choice, require_sizes

MOST = 4
"""Layers."""


class HierarchicalVAE(nn.Module):
    """`q(z1 | x) q(z2 | z1) ...` and `p(zL) p(zL-1 | zL) ... p(x | z1)`, with V variables in every layer.

    Layers count from 0, that of `z1`; below it are the images. All points may have further dimensions in front, which
    broadcast.

    Args:
        mean: the training images' mean, `[D]`: the first encoder's input is centred by it, and the pixels' bias starts
            there.
        layers: L, 1 to 4.
        variables: V.
        categories: C; ignored for Bernoulli latents.
        latent: "categorical" or "bernoulli".
        hidden: widths of the hidden layers between two layers of latents, on the way up; on the way down they are
            reversed. Empty: one affine map, as in a sigmoid belief network.
        slope: of the leaky rectifiers below zero.
        prior: "learned", or "uniform".
        init: of the weights: see `perceptron`.
        centred: whether the encoder sees images without their mean, all maps see points of -1 and 1, and the pixels'
            bias starts at the mean. False: images as they are, points of 0 and 1, a bias like any other.

    Raises:
        UserError: for sizes that cannot be meant.
    """

    mean: Tensor

    def __init__(
        self,
        mean: Tensor,
        layers: int = 2,
        variables: int = 200,
        categories: int = 10,
        latent: str = "bernoulli",
        hidden: Sequence[int] = (),
        slope: float = 0.2,
        prior: str = "learned",
        init: str = "xavier",
        centred: bool = True,
    ) -> None:
        super().__init__()
        require_sizes(hidden, latent, layers=layers, variables=variables, categories=categories)
        require_choice("prior", prior, "learned", "uniform")
        require_choice("init", init, "xavier", "torch")
        if layers > MOST:
            raise UserError(f"model.layers is 1 to {MOST}, not {layers}.")
        self.layers, self.latent, self.centred = layers, latent, centred
        event = (variables,) if latent == "bernoulli" else (variables, categories)
        self.register_buffer("mean", mean if centred else torch.zeros_like(mean))
        self.prior_logits = nn.Parameter(torch.zeros(event), requires_grad=prior == "learned")
        pixels_bias = mean.clamp(1e-3, 1 - 1e-3).logit() if centred else None
        sizes = (mean.numel(), *[self.prior_logits.numel()] * layers)
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        for below, above in itertools.pairwise(sizes):
            bias = None if len(self.decoders) else pixels_bias
            self.encoders.append(perceptron((below, *hidden, above), slope, init=init))
            self.decoders.append(perceptron((above, *reversed(hidden), below), slope, bias, init))

    @property
    def event_dims(self) -> int:
        """How many dimensions the variables of a layer have, with the categories."""
        return self.prior_logits.ndim

    def flat(self, points: Tensor) -> Tensor:
        """What networks see of points `[*batch, V, C]` or `[*batch, V]`: `[*batch, V * C]` or `[*batch, V]`."""
        points = points.flatten(points.ndim - self.event_dims)
        return 2 * points - 1 if self.centred else points

    def encoder_input(self, layer: int, below: Tensor) -> Tensor:
        """What the encoder of a layer sees of what is below, `[*batch, width]`."""
        return self.flat(below) if layer else below - self.mean

    def posterior_logits(self, layer: int, below: Tensor) -> Tensor:
        """Logits of the layer given what is below, `[*batch, V, C]` or `[*batch, V]`."""
        logits: Tensor = self.encoders[layer](self.encoder_input(layer, below))
        return logits.unflatten(-1, self.prior_logits.shape)

    def decoder_logits(self, layer: int, points: Tensor) -> Tensor:
        """Logits of what is below the layer given its points: of the pixels, `[*batch, D]`, or of latents."""
        logits: Tensor = self.decoders[layer](self.flat(points))
        return logits.unflatten(-1, self.prior_logits.shape) if layer else logits

    def terms(self, layer: int, below: Tensor, points: Tensor, logits: Tensor, of_bound: bool = False) -> Tensor:
        """What a layer adds to `log p(x, z) - log q(z | x)`, `[S, *batch]`; the layers' sum is the whole.

        `log p(below | points) - log q(points | below)`, and in the last layer `log p(points)`. The logits are detached
        in log q but for a bound (`of_bound`), as in the VAE of one layer: the mean of its explicit gradient is zero.

        Args:
            layer: which.
            below: the images, or the points of the layer below, `[*batch, ...]`.
            points: of the layer, `[S, *batch, V, C]` or `[S, *batch, V]`.
            logits: of the layer, given `below`.
            of_bound: whether log q keeps its gradient.
        """
        down = self.decoder_logits(layer, points)
        own = log_prob(below, down, latent=self.latent) if layer else log_likelihood(below, down)
        own = own - log_prob(points, logits if of_bound else logits.detach(), latent=self.latent)
        return own + log_prob(points, self.prior_logits, latent=self.latent) if layer + 1 == self.layers else own

    def ancestral(
        self, below: Tensor, generator: torch.Generator, layer: int = 0, of_bound: bool = False
    ) -> tuple[list[Tensor], Tensor | float]:
        """One point of the layer and of each above it, given what is below, and the sum of their terms, `[*batch]`."""
        drawn: list[Tensor] = []
        total: Any = 0.0
        for above in range(layer, self.layers):
            logits = self.posterior_logits(above, below)
            points = self.one(logits, generator)
            total = total + self.terms(above, below, points, logits, of_bound)
            drawn.append(points)
            below = points
        return drawn, total

    def generated(self, points: Tensor, generator: torch.Generator, layer: int) -> Tensor:
        """Images `[*batch, D]` in [0, 1], given points of a layer; the layers in between are drawn."""
        for own in range(layer, 0, -1):
            points = self.one(self.decoder_logits(own, points), generator)
        return self.decoder_logits(0, points).sigmoid()

    def one(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """One point of every variable, of the logits' shape."""
        return dg.Reinforce(latent=self.latent).sample(logits, generator).points[0]
