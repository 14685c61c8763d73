"""Copulas: the joint law of n exchangeable uniforms that avoid each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Interval(NamedTuple):
    """An interval of [0, 1], with its edges in the coordinates that a copula computes in."""

    low: Tensor
    high: Tensor
    mass: Tensor
    """Its length."""


class Family(Protocol):
    """What the operations ask of a copula."""

    @property
    def points(self) -> int:
        """n."""
        ...

    def uniforms(self, noise: Tensor) -> Tensor:
        """n uniforms on [0, 1), `[n, ...]`, from independent ones of the same shape."""
        ...

    def interval(self, lower: Tensor, upper: Tensor) -> Interval:
        """From its edges in [0, 1]."""
        ...

    def rectangle(self, one: Interval, other: Interval) -> Tensor:
        """P(U_1 in one, U_2 in other), to absolute accuracy."""
        ...

    def corner(self, mass: Tensor, other_mass: Tensor) -> Tensor:
        """P(U_1 <= mass, U_2 > 1 - other_mass), to relative accuracy; at least the product of the masses."""
        ...

    def crossed(self, one: Interval, other: Interval, counts: Tensor) -> Tensor:
        """The sum over i < j of P(U_1 in one[i], U_2 in other[j]), both among those that count.

        Args:
            one: `[*variables, C]`, where it counts in ascending order.
            other: `[*variables, C]`.
            counts: bool `[*variables, C]`, True in one run.
        """
        ...


@dataclass(frozen=True)
class Dirichlet:
    """`U_i = (1 - D_i) ** (n - 1)` with D uniform on the simplex; for n = 2 it is the antithetic pair.

    P(D_i > a_i for all i) = relu(1 - sum a) ** (n - 1), so that with `x_i = u_i ** (1 / (n - 1))` the distribution
    function is `relu(sum x - (number of arguments - 1)) ** (n - 1)`, for two arguments as for all n.
    """

    points: int

    def uniforms(self, noise: Tensor) -> Tensor:
        """Exponentials over their sum; what the others have of it is summed up, for little of 1 has no digits left."""
        arrivals = (-torch.log1p(-noise)).clamp_min(torch.finfo(noise.dtype).tiny)
        others = torch.stack([arrivals[:k].sum(0) + arrivals[k + 1 :].sum(0) for k in range(self.points)])
        uniforms = (others / (others + arrivals)).pow(self.points - 1)
        return _below_one(uniforms)

    def cdf(self, uniforms: list[Tensor]) -> Tensor:
        """P(U_i <= u_i for all of them), of at most n."""
        total = sum((self._root(u) for u in uniforms[1:]), self._root(uniforms[0]))
        return self._raise(total - (len(uniforms) - 1))

    def interval(self, lower: Tensor, upper: Tensor) -> Interval:
        """Roots, less a half each, so that their sums are what the distribution function raises."""
        low, high = (self._root(u) - 0.5 for u in (lower, upper))
        return Interval(low, high, upper - lower)

    def rectangle(self, one: Interval, other: Interval) -> Tensor:
        """The second difference of the distribution function."""
        inner = self._raise(one.high + other.high) - self._raise(one.low + other.high)
        outer = self._raise(one.high + other.low) - self._raise(one.low + other.low)
        return (inner - outer).clamp_min(0.0)

    def corner(self, mass: Tensor, other_mass: Tensor) -> Tensor:
        """`a - relu(a^(1/m) + (1 - b)^(1/m) - 1)^m = a (1 - relu(1 - y a^(-1/m))^m)`, `y = 1 - (1 - b)^(1/m)`."""
        power = self.points - 1
        gap = -torch.expm1(torch.log1p(-other_mass) / power)
        share = (gap / mass.pow(1 / power).clamp_min(torch.finfo(mass.dtype).tiny)).clamp_max(1.0)
        return mass * -torch.expm1(power * torch.log1p(-share))

    def crossed(self, one: Interval, other: Interval, counts: Tensor) -> Tensor:
        """`relu(x_i + y_j) ** m`, by cumulative sums of the powers of x over the i for which it is positive.

        x and y are within a half, so that the terms of the binomial add up to 1 at most, whatever m is.
        """
        power, end = self.points - 1, torch.arange(counts.shape[-1], device=counts.device)
        total = torch.zeros_like(other.mass)
        for x, sign in ((one.high, 1), (one.low, -1)):
            x = torch.where(counts, x, torch.where(counts.cumsum(-1) > 0, 1.0, -1.0))  # ascending everywhere
            # Where j has none the window from the first positive one to j is empty.
            starts = [torch.minimum(torch.searchsorted(x, -y, right=True), end) for y in (other.high, other.low)]
            powers = counts.to(x.dtype)
            sums = []
            for _ in range(power + 1):
                sums.append(_of_earlier(powers))
                powers = powers * x
            for y, start, of_y in ((other.high, starts[0], sign), (other.low, starts[1], -sign)):
                inner = torch.zeros_like(y)
                for k in range(power + 1):  # in the manner of Horner
                    inner = inner * y + float(math.comb(power, k)) * (sums[k] - sums[k].gather(-1, start))
                total = total + of_y * inner
        return torch.where(counts, total, 0.0).sum(-1).clamp_min(0.0)

    def _root(self, uniforms: Tensor) -> Tensor:
        return uniforms if self.points == 2 else uniforms.pow(1 / (self.points - 1))

    def _raise(self, sums: Tensor) -> Tensor:
        sums = sums.clamp_min(0.0)
        result = sums
        for _ in range(self.points - 2):  # a general power takes many times as long
            result = result * sums
        return result


@dataclass(frozen=True)
class Gaussian:
    """`U_i = Phi(X_i)`, X normal with all correlations `-1 / (n - 1)`, the least there are; n of at least 3.

    The distribution function of two of them is `Phi(h) Phi(k)` and an integral over the angle whose sine is the
    correlation (Plackett; Drezner and Wesolowsky 1990; Genz 2004), by a Gauss-Legendre rule.
    """

    points: int

    def uniforms(self, noise: Tensor) -> Tensor:
        """Centred normals."""
        # A uniform of 0 stands for all below the next, so it must not be infinite.
        normals = torch.special.ndtri(noise.clamp_min(torch.finfo(noise.dtype).eps / 4))
        scale = math.sqrt(self.points / (self.points - 1))
        return _below_one(torch.special.ndtr(scale * (normals - normals.mean(0))))

    def interval(self, lower: Tensor, upper: Tensor) -> Interval:
        """Normal quantiles."""
        return Interval(_quantile(lower), _quantile(upper), upper - lower)

    def rectangle(self, one: Interval, other: Interval) -> Tensor:
        """The product of the masses, and the second difference of the integral."""
        rows, columns = (torch.stack((part.high, part.low)) for part in (one, other))
        corners = self._angles(rows.unsqueeze(1), columns.unsqueeze(0))
        moved = corners[0, 0] - corners[1, 0] - corners[0, 1] + corners[1, 1]
        return (one.mass * other.mass + moved).clamp_min(0.0)

    def corner(self, mass: Tensor, other_mass: Tensor) -> Tensor:
        """Both terms are positive."""
        return mass * other_mass - self._angles(_quantile(mass), -_quantile(other_mass))

    def crossed(self, one: Interval, other: Interval, counts: Tensor) -> Tensor:
        """By the series of the distribution function in Hermite functions, a sum of products (Mehler; Kendall 1941).

            Phi(h) Phi(k) + sum_n r^(n+1) / (n+1) psi_n(h) psi_n(k),   psi_n = He_n phi / sqrt(n!)

        Products of psi_n are below 0.2, and r is at most a half in size.
        """
        correlation = -1 / (self.points - 1)
        edges = (one.high, one.low, other.high, other.low)
        past = [torch.zeros_like(x) for x in edges]
        now = [(-x.square() / 2).exp() / math.sqrt(2 * math.pi) for x in edges]
        total = _of_earlier(torch.where(counts, one.mass, 0.0)) * other.mass
        for n in range(1, 2 + math.ceil(_DIGITS / math.log2(self.points - 1))):
            rows, columns = torch.where(counts, now[0] - now[1], 0.0), now[2] - now[3]
            total = total + correlation**n / n * _of_earlier(rows) * columns
            following = [
                (x * b - math.sqrt(n - 1) * a) / math.sqrt(n) for x, a, b in zip(edges, past, now, strict=True)
            ]
            past, now = now, following
        return torch.where(counts, total, 0.0).sum(-1).clamp_min(0.0)

    def _angles(self, h: Tensor, k: Tensor) -> Tensor:
        """`P(X_1 <= h, X_2 <= k) - Phi(h) Phi(k)`, which is negative."""
        squares, product = (h.square() + k.square()) / 2, h * k
        end = math.asin(-1 / (self.points - 1))
        total = torch.zeros_like(product)
        for node, weight in _RULES[min(self.points, 4)]:
            sine, cosine = math.sin(end * (1 + node) / 2), math.cos(end * (1 + node) / 2)
            total = total + weight * ((product * sine - squares) / cosine**2).exp()
        return total * (end / (4 * math.pi))


_DIGITS = 53
"""Of a series in double."""


def _of_earlier(numbers: Tensor) -> Tensor:
    return numbers.cumsum(-1) - numbers


def _below_one(uniforms: Tensor) -> Tensor:
    return uniforms.clamp_max(1 - torch.finfo(uniforms.dtype).eps / 2)


def _quantile(uniforms: Tensor) -> Tensor:
    """Infinities would meet zeros; beyond 39 there is no probability that float64 can hold."""
    return torch.special.ndtri(uniforms).clamp(-39.0, 39.0)


def _gauss_legendre(count: int) -> list[tuple[float, float]]:
    """Nodes and weights on [-1, 1] by the eigenvalues of the Jacobi matrix (Golub and Welsch)."""
    k = torch.arange(1, count, dtype=torch.float64, device="cpu")
    beside = k / (4 * k.square() - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return list(zip(nodes.tolist(), (2 * vectors[0].square()).tolist(), strict=True))


_RULES = {3: _gauss_legendre(14), 4: _gauss_legendre(9)}
"""By the number of points, the last for more of them: the larger the correlation, the more nodes."""
