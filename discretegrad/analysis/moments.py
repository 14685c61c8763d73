"""Streaming moments of a random gradient, in groups: what is needed for its variance, its bias, and their errors.

Replicates are dealt to G groups, each with its own mean and sum of squares (Welford 1962; groups of several at once,
and of other runs, by Chan, Golub, LeVeque 1983). Nothing of size `[R, D]` is kept. Whatever is computed from all groups
is computed once more without each of them in turn: the delete-a-group jackknife gives a standard error to quantities
that are not means, such as the squared norm of a bias, and merging two runs merges their groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from discretegrad.analysis.estimate import Estimate, joint_error

GROUPS = 32
"""G: Student's t has 31 degrees of freedom, whose quantiles are 4 % above the normal ones at 95 %."""
LOST_BITS = 8
"""How many bits of a gradient cancellation may cost: 8 where f is 256 times as large as its differences."""
COARSEST = 1 / 32
"""Of the gradient: the most that is taken for rounding. Half floats have no eight bits to spare."""


class Summary(NamedTuple):
    """Of the gradient w.r.t. one layer, or all of them."""

    variance: Estimate
    """The trace of the covariance."""
    bias2: Estimate
    """The squared norm of the bias, without the noise of the mean and of the truth: about 0, perhaps below, if there is
    no bias."""
    mean_squared_error: Estimate
    """The mean squared distance of an estimate from the truth: the two above, with the error of their sum."""
    norm2: Estimate
    """The squared norm of the mean, without its noise."""
    snr: Estimate
    """The norm of the mean over the standard deviation, the square root of the variance."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What the mean is compared with: the exact gradient, or the moments of a long run."""

    gradient: Tensor
    """`[D]`, float64."""
    moments: Moments | None = None
    """Of the long run, as they are now; None where the gradient is exact."""

    @property
    def of_groups(self) -> Tensor:
        """`[D]`, or `[G, D]` where a long run lends a gradient to each group."""
        return self.gradient if self.moments is None else self.moments.mean

    @cached_property
    def norm2(self) -> Estimate:
        """The squared norm of the gradient, without its noise."""
        if self.moments is None:
            return Estimate(float(self.gradient.square().sum()), 0.0)
        return self.moments.summary().norm2


class Moments:
    """Of gradients `[R, D]` that come in any number of parts.

    Args:
        sizes: the entries of every layer, by name; D together.
        device: of the gradients.
        groups: G; there must be a replicate for each before anything is asked for.
    """

    def __init__(self, sizes: Mapping[str, int], device: torch.device | str = "cpu", groups: int = GROUPS) -> None:
        self.sizes, self.groups = dict(sizes), groups
        entries = sum(self.sizes.values())
        new = {"dtype": torch.float64, "device": device}
        self.count = torch.zeros(groups, **new)  # type: ignore[call-overload]
        self.mean = torch.zeros(groups, entries, **new)  # type: ignore[call-overload]
        self.squares = torch.zeros(groups, len(self.sizes), **new)  # type: ignore[call-overload]
        """Within the groups, summed over the entries of a layer."""
        self.within = torch.zeros(entries, **new)  # type: ignore[call-overload]
        """Within the groups, summed over them."""
        self.epsilon = torch.zeros((), **new)  # type: ignore[call-overload]
        """Of the coarsest dtype that gradients came in."""

    @property
    def replicates(self) -> int:
        """R so far."""
        return int(self.count.sum())

    def update(self, gradients: Tensor) -> None:
        """Take in replicates `[R, D]`, independent of each other and of all before."""
        self.epsilon.clamp_min_(torch.finfo(gradients.dtype).eps)
        # At least float32: squares of half a float's numbers may be too large for it.
        gradients = gradients.to(self.mean.device, torch.promote_types(gradients.dtype, torch.float32))
        done = 0
        while done < len(gradients):
            # The groups in turn: as many of all as there are, or those that are left of a turn, one each.
            first, left = self.replicates % self.groups, len(gradients) - done
            turns = left // self.groups if first == 0 else 0
            taken = turns * self.groups or min(left, self.groups - first)
            groups, part = slice(first, first + taken // max(1, turns)), slice(done, done + taken)
            if turns > 1:
                several = gradients[part].unflatten(0, (turns, -1))
                mean = several.mean(0, dtype=torch.float64)
                apart = (several - mean.to(several)).square_()
                self.squares[groups] += self._by_layer(apart.sum(0))
                self.within += apart.sum((0, 1))
            else:
                mean = gradients[part]
            self._add(groups, torch.full_like(self.count[groups], max(1, turns)), mean)
            done += taken

    def _add(self, groups: slice, count: Tensor, mean: Tensor) -> None:
        """As many to each of the groups, with such means: what lies between these and the groups' own."""
        before = self.count[groups]
        after = before + count
        share = count / after.clamp_min(1.0)
        apart = mean.to(self.mean.dtype, copy=True).sub_(self.mean[groups])  # of two dtypes it would take twice as long
        self.mean[groups].addcmul_(apart, share.unsqueeze(1))
        between, weight = apart.square_(), before * share
        self.squares[groups] += self._by_layer(between) * weight.unsqueeze(1)
        self.within.addmv_(between.T, weight)
        self.count[groups] = after

    def _by_layer(self, entries: Tensor) -> Tensor:
        return torch.stack([part.sum(-1) for part in entries.split(list(self.sizes.values()), -1)], -1)

    def merge(self, other: Moments) -> None:
        """Take in those of another run, independent of this one, of the same layers."""
        if other.sizes != self.sizes:
            raise ValueError(f"moments of layers {other.sizes} do not merge with those of layers {self.sizes}.")
        if other.groups != self.groups:
            raise ValueError(f"moments in {other.groups} groups do not merge with those in {self.groups}.")
        other = other.to(self.mean.device)
        self._add(slice(None), other.count, other.mean)
        self.squares += other.squares
        self.within += other.within
        self.epsilon = torch.maximum(self.epsilon, other.epsilon)

    def average(self) -> Tensor:
        """The mean gradient, `[D]`."""
        return self.count @ self.mean / self.count.sum()

    def coordinate_variance(self) -> Tensor:
        """`[D]`, unbiased, of every entry by itself."""
        apart = self.mean - self.average()
        return (self.within + self.count @ apart.square()) / (self.count.sum() - 1)

    def along(self, vector: Tensor) -> Estimate:
        """The inner product of a fixed vector `[D]` with the mean's direction, without the noise in the mean's length.

        NaN, with infinite error, where that cannot be told from 0.
        """
        own = _Part(self, None)
        norm2 = own.squared_distance(torch.zeros_like(own.total_mean))
        if not float(norm2.min()) > 0:
            return Estimate(math.nan, math.inf)
        return _jackknife(own.along(vector) / norm2.sqrt())

    def cosine_of_means(self, other: Moments) -> Estimate:
        """The cosine between the two mean gradients, independent of each other, without the noise in their norms.

        It may be above 1 by noise. NaN, with infinite error, where a norm cannot be told from 0.
        """
        own, others = _Part(self, None), _Part(other, None)
        zero = torch.zeros_like(own.total_mean)
        norms2 = [part.squared_distance(zero) for part in (own, others)]
        if not min(float(norm2.min()) for norm2 in norms2) > 0:
            return Estimate(math.nan, math.inf)
        scale = (norms2[0][0] * norms2[1][0]).sqrt()
        found = [
            _jackknife(part.along(mean) / scale * (norm2[0] / norm2).sqrt())
            for part, mean, norm2 in zip((own, others), (others.total_mean, own.total_mean), norms2, strict=True)
        ]
        return Estimate(found[0].value, *joint_error(*found))

    def summary(self, truth: Truth | None = None, layer: str | None = None) -> Summary:
        """What the moments say, with standard errors; a variance or a squared bias of rounding's size is zero.

        Args:
            truth: without it there is no bias, and the mean squared error is the variance.
            layer: one of them; None for all.
        """
        own, noise = _Part(self, layer), Estimate(0.0, 0.0)
        average = own.mean.mean(0)  # any centre would do; near the mean nothing cancels
        variance, norm2 = own.variance(average), own.squared_distance(torch.zeros_like(average))
        if truth is None:
            bias2 = torch.zeros_like(variance)
        else:
            exact = truth.gradient[own.entries]
            bias2 = own.squared_distance(exact)
            if truth.moments is not None:
                of_truth = _Part(truth.moments, layer)
                # Of the same distance, now with groups of the long run left out.
                noise = _jackknife(of_truth.squared_distance(own.total_mean))
                bias2 = bias2 - of_truth.variance(exact)[0] / of_truth.count.sum()
        bias, loss = (
            Estimate(float(one[0]), *joint_error(_jackknife(one), noise)) for one in (bias2, variance + bias2)
        )
        floor = own.rounding2
        variance = torch.where(variance[0] <= floor, 0.0, variance)  # NaN stays
        return Summary(
            _jackknife(variance),
            _at_least(floor, bias),
            _at_least(2 * floor, loss),
            _jackknife(norm2),
            _jackknife((norm2.clamp_min(0.0) / torch.where(variance > 0, variance, torch.inf)).sqrt()),
        )

    def bias_p_value(self, truth: Truth, flips: int = 9999) -> float:
        """The probability of a mean so far from the truth, or farther, if there is no bias.

        By flipping the signs of the groups' distances from the truth at random: the groups are independent, and near
        enough to symmetric for being means. A long run lends a group to each.
        """
        apart = self.mean - truth.of_groups
        weighted = apart * self.count.unsqueeze(1)
        products = weighted @ weighted.T
        if float(products.sum()) <= _Part(self, None).rounding2 * self.replicates**2:
            return 1.0
        generator = torch.Generator(products.device).manual_seed(0)
        signs = torch.randint(0, 2, (flips, self.groups), generator=generator, device=products.device) * 2.0 - 1
        flipped = ((signs.to(products) @ products) * signs).sum(1)
        # With a tolerance: flips of all signs are equal but for rounding.
        return (1 + int((flipped >= products.sum() * (1 - 1e-9)).sum())) / (1 + flips)

    def _kept(self) -> Tensor:
        """`[1 + G, G]`: all groups, then all but one."""
        kept = 1 - torch.eye(self.groups, dtype=self.count.dtype, device=self.count.device)
        return torch.cat((torch.ones_like(kept[:1]), kept))

    def to(self, device: torch.device | str) -> Moments:
        """On another device."""
        return Moments.of_state(self.state(), device)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a file."""
        names = ("count", "mean", "squares", "within", "epsilon")
        return {"sizes": self.sizes, **{name: getattr(self, name) for name in names}}

    @classmethod
    def of_state(cls, state: Mapping[str, Any], device: torch.device | str = "cpu") -> Moments:
        """What `state` was of."""
        moments = cls(state["sizes"], device, len(state["count"]))
        for name, value in state.items():
            if name != "sizes":
                setattr(moments, name, value.to(device, copy=True))  # which `update` will change
        return moments


class _Part:
    """A layer's moments, or all, with every quantity for all groups and for all but one, `[1 + G]`."""

    def __init__(self, moments: Moments, layer: str | None) -> None:
        names, sizes = list(moments.sizes), list(moments.sizes.values())
        starts = [0, *torch.tensor(sizes, device="cpu").cumsum(0).tolist()] if sizes else [0]
        spans = dict(zip(names, pairwise(starts), strict=True))
        self.entries = slice(*spans[layer]) if layer is not None else slice(None)
        chosen = names.index(layer) if layer is not None else None
        self.count = moments.count
        self.mean = moments.mean[:, self.entries]
        self.squares = moments.squares.sum(1) if chosen is None else moments.squares[:, chosen]
        self.kept = moments._kept()
        self.counts = self.kept * self.count
        self.replicates = self.counts.sum(1)
        self.total_mean = self.count @ self.mean / self.count.sum()
        self.epsilon = float(moments.epsilon)

    @property
    def rounding2(self) -> float:
        """What rounding can make of the squared distance of a gradient from where it should be.

        An entry is known to the epsilon of its dtype, less the bits that were lost where terms cancelled: as many as
        the size of the terms exceeds that of their sum, which nobody knows here, and `LOST_BITS` allows for. What f
        rounds in a coarser dtype than that of its gradients, as under autocast, is not known either.
        """
        relative = min(2**LOST_BITS * self.epsilon, COARSEST)
        square = float(self.squares.sum() + self.count @ self.mean.square().sum(1)) / float(self.count.sum())
        return relative**2 * square

    def variance(self, centre: Tensor) -> Tensor:
        """Within the groups and between them."""
        products = self._products(centre)
        between = self.counts @ products.diagonal() - self.replicates * self._of_mean(products)
        return (self.kept @ self.squares + between) / (self.replicates - 1)

    def along(self, direction: Tensor) -> Tensor:
        """The mean's inner product with it."""
        return self.counts @ (self.mean @ direction) / self.replicates

    def squared_distance(self, point: Tensor) -> Tensor:
        """Of the mean from a point, less what the mean's noise adds to it."""
        return self._of_mean(self._products(point)) - self.variance(point) / self.replicates

    def _products(self, centre: Tensor) -> Tensor:
        apart = self.mean - centre
        return apart @ apart.T

    def _of_mean(self, products: Tensor) -> Tensor:
        shares = self.counts / self.replicates.unsqueeze(1)
        return torch.einsum("jg,gh,jh->j", shares, products, shares)


def _at_least(floor: float, estimate: Estimate) -> Estimate:
    """Zero where both the number and its error are no more than the floor: with a larger error nothing is claimed."""
    return Estimate(0.0, 0.0) if max(abs(estimate.value), estimate.error) <= floor else estimate


def _jackknife(values: Tensor) -> Estimate:
    """Of all groups, with the standard error from leaving out one at a time."""
    without = values[1:]
    groups = len(without)
    error = ((groups - 1) / groups * (without - without.mean()).square().sum()).sqrt()
    return Estimate(float(values[0]), float(error), groups - 1)
