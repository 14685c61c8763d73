"""The families of problems, from a few numbers each: f, logits, and where the truth comes from.

Every family is a function of keyword arguments; `latent` is "categorical" or "bernoulli". But for the three small ones,
logits are drawn from N(0, 1) by the problem's `seed` and multiplied by `scale`, so that a small scale is a flat and a
large one a peaked posterior.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.errors import UserError, require_count, require_number

SMALL = ("toy", "random", "saturated")
"""The names of the small problems, on which docs/estimators.md measures."""


class Instance(NamedTuple):
    """What estimators are compared on."""

    latent: str
    f: Callable[[Tensor], Tensor]
    """From points `[S, *batch, *event, C]` to values `[S, *batch]`, or without S."""
    logits: Tensor
    wrt: nn.Module | None = None
    """Behind the logits; None for the logits themselves."""
    reference: dg.Estimator | None = None
    """Of the true gradient where it cannot be enumerated; one without variance, if there is one."""
    gradient: Tensor | None = None
    """The true gradient, where it is known in closed form."""
    context: Any = None
    fit: bool = True
    """Whether what learns inside an estimator is fitted to it."""

    @property
    def facts(self) -> dict[str, float]:
        """What rows are plotted against: sizes, and the mean entropy of a variable in nats."""
        rank = dg.latent.LATENTS[self.latent].rank
        logits = dg.latent.LATENTS[self.latent].category_logits(self.logits.detach())
        log_probs = logits.log_softmax(-1)
        entropy = float(-(log_probs.exp() * log_probs).sum(-1).mean())
        categories = logits.shape[-1]
        variables = self.logits.shape[-1 - rank]
        return {"variables": variables, "categories": categories, "entropy": entropy / math.log(categories)}


def classic(
    latent: str = "bernoulli", variables: int = 200, categories: int = 2, scale: float = 1.0, seed: int = 0
) -> Instance:
    """`E mean_v (z_v - 0.499)^2`, for categories of ids spread over [0, 1]: additive, so known in any dimension."""
    logits, _ = _logits(latent, variables, categories, scale, seed)
    costs = (torch.linspace(0.0, 1.0, logits.shape[-1] if latent == "categorical" else 2).double() - 0.499).square()

    def f(points: Tensor) -> Tensor:
        if latent == "bernoulli":
            return (points - 0.499).square().mean(-1)
        return (points @ costs.to(points)).mean(-1)

    probs = dg.latent.LATENTS[latent].category_logits(logits).softmax(-1)
    gradient = probs * (costs - probs @ costs.unsqueeze(-1)) / variables
    # Of an additive f the local expectations have no variance.
    exact = dg.LocalExpectation(latent=latent)
    return Instance(
        latent, f, logits, reference=exact, gradient=gradient if latent == "categorical" else gradient[..., 1]
    )


def quadratic(
    latent: str = "categorical", variables: int = 20, categories: int = 4, scale: float = 1.0, seed: int = 0
) -> Instance:
    """`x' A x + b' x` of the flattened one-hots x, with a random symmetric A and a random b, at values of order one."""
    logits, generator = _logits(latent, variables, categories, scale, seed)
    size = logits.numel()
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    matrix = (matrix + matrix.T) / 2 / variables
    vector = torch.randn(size, generator=generator, dtype=torch.float64) / math.sqrt(variables)

    def f(points: Tensor) -> Tensor:
        flat = points if latent == "bernoulli" else points.flatten(-2)
        return (flat @ matrix * flat).sum(-1) + flat @ vector

    return Instance(latent, f, logits)


def table(
    latent: str = "categorical", variables: int = 3, categories: int = 4, scale: float = 1.0, seed: int = 0
) -> Instance:
    """An independent N(0, 1) for every joint value: no structure at all. Small."""
    logits, generator = _logits(latent, variables, categories, scale, seed)
    size = 2 if latent == "bernoulli" else categories
    if variables * math.log(size) > math.log(2**20):
        raise UserError(f"a table of {size}^{variables} values is too large; give fewer variables or categories.")
    values = torch.randn(size**variables, generator=generator, dtype=torch.float64)
    places = size ** torch.arange(variables)

    def f(points: Tensor) -> Tensor:
        if points.requires_grad:  # estimators that need a gradient get that of the multilinear extension
            return _multilinear(values, points, latent)
        ids = points.long() if latent == "bernoulli" else points.argmax(-1)
        return values[(ids * places.flip(0)).sum(-1)]

    return Instance(latent, f, logits)


def ising(
    latent: str = "bernoulli",
    variables: int = 12,
    categories: int = 2,
    scale: float = 1.0,
    coupling: float = 1.0,
    seed: int = 0,
) -> Instance:
    """The energy of a ring with couplings of random strength: Ising spins +-1, or a Potts model of categories."""
    logits, generator = _logits(latent, variables, categories, scale, seed)
    if variables < 3:
        raise UserError(f"a ring has at least 3 variables, not {variables}.")
    strength = coupling * torch.randn(variables, generator=generator, dtype=torch.float64)

    def f(points: Tensor) -> Tensor:
        if latent == "bernoulli":
            spins = 2 * points - 1
            return (spins * spins.roll(1, -1)) @ strength
        return (points * points.roll(1, -2)).sum(-1) @ strength

    return Instance(latent, f, logits)


def small(name: str = "random", latent: str = "categorical") -> Instance:
    """One of the three small problems of docs/estimators.md, always the same.

    Args:
        name: "toy", the squared distance of the mean id (spread over [0, 1]) from 0.499; "random", a random smooth
            function of three variables jointly; "saturated", one where a category has nearly all the probability.
        latent: "categorical" (three categories) or "bernoulli".
    """
    if name not in SMALL:
        raise UserError(f"the small problems are {', '.join(SMALL)}, not {name!r}.")
    generator = torch.Generator().manual_seed(0)
    variables, categories = 3 if name == "random" or latent == "bernoulli" else 2, 3 if latent == "categorical" else 2
    inner = torch.randn(variables * categories, 8, generator=generator, dtype=torch.float64)
    outer = torch.randn(8, generator=generator, dtype=torch.float64)
    logits = torch.randn(variables, categories, generator=generator, dtype=torch.float64)
    if name == "saturated":
        logits[:, 0] += 5.0
    spread = torch.linspace(0.0, 1.0, categories, dtype=torch.float64)

    def f(points: Tensor) -> Tensor:
        if latent == "bernoulli":
            points = torch.stack((1 - points, points), -1)
        if name == "toy":
            return ((points @ spread).mean(-1) - 0.499).square()
        return (points.flatten(-2) @ inner).tanh() @ outer

    return Instance(latent, f, logits if latent == "categorical" else logits[:, 1] - logits[:, 0])


FAMILIES: dict[str, Callable[..., Instance]] = {
    "classic": classic,
    "quadratic": quadratic,
    "table": table,
    "ising": ising,
    "small": small,
}
LEAST = {"variables": 1, "categories": 2, "seed": 0, "step": 1, "images": 1, "part": 0, "parts": 1}
"""What counts are at least."""


def everything(problem: Instance, logits: Tensor) -> tuple[Tensor, Tensor]:
    """f at all joint values, and the logarithms of their probabilities, with the logits' graph."""
    points = dg.Exact(latent=problem.latent).sample(logits.detach()).points
    return problem.f(points), dg.objectives.log_prob(points, logits, latent=problem.latent)


def check(kind: str, arguments: Mapping[str, Any], families: Mapping[str, Callable[..., Instance]]) -> None:
    """Refuse arguments that no problem of the family can have.

    Raises:
        UserError: in one sentence.
    """
    if kind not in families:
        raise UserError(f"there is no family of problems called {kind!r}; there are {', '.join(families)}.")
    known = inspect.signature(families[kind]).parameters
    for name, value in arguments.items():
        if name not in known:
            raise UserError(f"a problem of the family {kind} has no {name}; it has {', '.join(known)}.")
        if name in LEAST and value is not None:
            require_count(f"{kind}: {name}", value, LEAST[name])
        if name == "scale":
            require_number(f"{kind}: scale", value, 0.0, math.inf)
        if name == "latent" and value not in dg.latent.LATENTS:
            raise UserError(f"{kind}: latent is categorical or bernoulli, not {value!r}.")


def _logits(latent: str, variables: int, categories: int, scale: float, seed: int) -> tuple[Tensor, torch.Generator]:
    """Float64 `[V, C]`, or `[V]` for Bernoulli latents; and the generator, for what else is random."""
    shape = (variables,) if latent == "bernoulli" else (variables, categories)
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64), generator


def _multilinear(values: Tensor, points: Tensor, latent: str) -> Tensor:
    if latent == "bernoulli":
        points = torch.stack((1 - points, points), -1)
    left = values.expand(*points.shape[:-2], -1)
    for one in points.unbind(-2):  # the first variable is the slowest of the table
        left = (one.unsqueeze(-1) * left.unflatten(-1, (one.shape[-1], -1))).sum(-2)
    return left.squeeze(-1)
