"""A feedforward network with layers of discrete latents: Raiko, Berglund, Alain, Dinh 2014 (arXiv 1406.2989)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.parts.images import log_likelihood
from experiments.parts.networks import perceptron, require_sizes


class Trajectories(NamedTuple):
    """One path through all layers for each of the first layer's S points."""

    draw: dg.Draw
    """Of the first layer."""
    points: Tensor
    """Of the last layer, `[S, B, V]`, or one-hots `[S, B, V, C]`."""
    score: Tensor
    """`sum_l log p(z_l | z_{l-1})` over the layers behind the first, `[S, B]`."""


class StochasticNetwork(nn.Module):
    """`p(y | x) = E p(y | z_L)` with `z_l ~ p(z_l | z_{l-1})` and `z_0 = x`, pixels x and y.

    Args:
        given: the mean of x, `[D]`, by which the first layer's input is centred; the others take points of -1 and 1.
        wanted: the mean of y, `[E]`, where the last bias starts.
        layers: L, of latents.
        variables: V, in each.
        categories: C; ignored for Bernoulli latents.
        latent: "categorical" or "bernoulli"; the latter make it a sigmoid belief net, if there are no hidden layers.
        hidden: widths of deterministic layers before every layer of latents, and before the pixels.
        slope: of their leaky rectifiers below zero.
    """

    mean: Tensor

    def __init__(
        self,
        given: Tensor,
        wanted: Tensor,
        layers: int = 2,
        variables: int = 200,
        categories: int = 10,
        latent: str = "bernoulli",
        hidden: Sequence[int] = (),
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        require_sizes(hidden, latent, layers=layers, variables=variables, categories=categories)
        self.latent, self.layers = latent, layers
        self.event = (variables,) if latent == "bernoulli" else (variables, categories)
        self.register_buffer("mean", given)
        width = torch.Size(self.event).numel()
        self.latents = nn.ModuleList(
            perceptron((given.numel() if layer == 0 else width, *hidden, width), slope) for layer in range(layers)
        )
        bias = wanted.clamp(1e-3, 1 - 1e-3).logit()
        self.pixels = perceptron((width, *hidden, wanted.numel()), slope, bias)

    def inputs(self, layer: int, before: Tensor) -> Tensor:
        """What the network of a layer sees of the layer before it, `[..., D]`."""
        return before - self.mean if layer == 0 else 2 * before.flatten(-len(self.event)) - 1

    def logits(self, layer: int, before: Tensor) -> Tensor:
        """Of `p(z_l | z_{l-1})`, `[..., V]` or `[..., V, C]`, counted from 0; before: pixels `[..., D]`, or points."""
        return self.latents[layer](self.inputs(layer, before)).unflatten(-1, self.event)

    def pixel_logits(self, points: Tensor) -> Tensor:
        """Of `p(y | z_L)`, `[..., E]`, for points of the last layer."""
        return self.pixels(self.inputs(self.layers, points))

    def log_likelihood(self, points: Tensor, wanted: Tensor) -> Tensor:
        """`log p(y | z_L)`, `[...]`; `wanted`: y, in [0, 1], broadcastable to `[..., E]`."""
        return log_likelihood(wanted, self.pixel_logits(points))

    def trajectories(self, given: Tensor, estimator: dg.Estimator, generator: torch.Generator) -> Trajectories:
        """Draw the first layer by the estimator, and for each of its points one point of every layer behind it."""
        draw = estimator.sample(self.logits(0, given), generator)
        points, score = draw.points, draw.points.new_zeros(draw.points.shape[:2])
        one = dg.Reinforce(latent=self.latent)
        for layer in range(1, self.layers):
            logits = self.logits(layer, points)
            points = one.sample(logits, generator).points[0]
            score = score + dg.objectives.log_prob(points, logits, latent=self.latent)
        return Trajectories(draw, points, score)
