"""The record that joins the two phases."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.autograd import keep_gradient
from discretegrad.coupling import Drawn
from discretegrad.latent import Latent
from discretegrad.ops.dispatch import has_entries, in_transform
from discretegrad.ops.layout import only_where, switch_off, wide_dtype
from discretegrad.ops.score import one_hot


class Added:
    """What a control variate has added to a draw.

    Args:
        one_hots: `[A, *variables, C]`, relaxed or not, at which it wants f besides; without ids. None for none.
        slopes: whether the gradient of f in the points will be asked for.
    """

    grad_f: tuple[Tensor, Tensor] | None = None
    """The values whose gradient was asked for, and that."""

    def __init__(self, one_hots: Tensor | None = None, slopes: bool = False) -> None:
        self.one_hots, self.slopes = one_hots, slopes


@dataclass(init=False, frozen=True, eq=False, repr=False)
class Draw:
    """What was drawn: all that the second phase needs to know of the first."""

    logits: Tensor
    """The user's logits, with their graph."""
    drawn: Drawn
    """The points, as what drew them has them."""
    latent: Latent
    added: Added | None = None
    """What a control variate has added."""
    _points: Tensor | None = field(default=None, init=False)
    _version: tuple[int, int] | None = field(default=None, init=False)

    def __init__(self, logits: Tensor, drawn: Drawn, latent: Latent, added: Added | None = None) -> None:
        # At once, for a frozen dataclass sets its fields one by one.
        version = _version(logits)
        vars(self).update(logits=logits, drawn=drawn, latent=latent, added=added, _points=None, _version=version)

    @property
    def indices(self) -> Tensor:
        """int64 category ids `[S, *variables]`; 0 where a variable is masked off."""
        return self.drawn.indices

    @property
    def mask(self) -> Tensor | None:
        """True where a variable takes part; broadcastable to `[*variables]`."""
        return self.drawn.mask

    @property
    def points(self) -> Tensor:
        """What f is called with, in the logits' dtype: one-hots `[S, *variables, C]`, or {0, 1} `[S, *variables]`.

        Made when first asked for, once: an f on ids (`indices`) never pays for them. Zero where masked off. Behind
        the points that have ids come the extra ones of a control variate, if there are any.
        """
        points = self._points
        if points is None:
            drawn, categories = self.drawn, self.drawn.logits.shape[-1]
            one_hots, ids, mask = drawn.relaxed, drawn.indices, drawn.mask
            if one_hots is None:
                checks.fits(
                    ids.numel() * categories,
                    self.logits.itemsize,
                    self.logits,
                    f"one-hots of {len(ids)} points of {categories} categories",
                    "give f the ids, draw.indices or on='ids', or draw fewer points at a time",
                )
                one_hots = one_hot(ids, categories, self.logits.dtype)
            added = self.added
            if added is not None and added.one_hots is not None:
                one_hots = torch.cat((one_hots, added.one_hots.to(one_hots.dtype)))
            if mask is not None:
                fresh = drawn.relaxed is None and not one_hots.requires_grad
                one_hots = only_where(mask, one_hots) if fresh else torch.where(mask.unsqueeze(-1), one_hots, 0.0)
            points = self.latent.points(one_hots)
            if points.requires_grad and not self._all_possible():
                # So that what f's gradient is at impossible categories reaches no arithmetic.
                points = keep_gradient(points, self._possible())
            if added is not None and added.slopes and torch.is_grad_enabled() and not points.requires_grad:
                checks.differentiates_f(in_transform())
                points = points.detach().requires_grad_()
            # functools.cached_property would do, but its lock stops torch.compile before Python 3.12.
            object.__setattr__(self, "_points", points)
        return points

    def grad_f(self, values: Tensor, name: str, create_graph: bool = False) -> Tensor:
        """The gradient of the values w.r.t. the one-hots, `[S + A, *variables, C]`.

        Args:
            values: f at the points; their graph is kept.
            name: of the estimator that needs it.
            create_graph: whether the gradient gets a graph of its own, for derivatives of second order.

        Raises:
            ValueError: where there is no graph between the points and the values.
        """
        added = self.added
        if added is not None and added.grad_f is not None and added.grad_f[0] is values and not create_graph:
            return added.grad_f[1]
        points = self.points
        gradient = None
        if values.requires_grad and points.requires_grad:
            (gradient,) = torch.autograd.grad(
                values.sum(), points, retain_graph=True, create_graph=create_graph, allow_unused=True
            )
        checks.gradient_of_f(gradient is not None, name)
        assert gradient is not None
        gradient = self.latent.lift(of_possible(self, gradient.to(wide_dtype(gradient.dtype))))
        gradient = gradient if self.mask is None else torch.where(self.mask.unsqueeze(-1), gradient, 0.0)
        if added is not None and not create_graph:  # a learner asks once more, perhaps when the graph is gone
            added.grad_f = values, gradient
        return gradient

    def _all_possible(self) -> bool:
        """Whether a look at the least and the largest logit, where it costs no waiting, tells that all are possible."""
        logits = self.logits
        if (
            self.mask is not None
            or not logits.is_cpu
            or not logits.numel()
            or not has_entries(logits)
            or in_transform()
        ):
            return False
        least, largest = (float(number) for number in logits.detach().aminmax())
        return max(largest, 0.0) - min(least, 0.0) < -_lowest(wide_dtype(logits.dtype), self.drawn.logits.shape[-1])

    def _possible(self) -> Tensor:
        return self.latent.possible(possible(category_logits(self.logits.detach(), self.latent, self.mask)))

    @property
    def probs(self) -> Tensor:
        """`[*variables, C]`, the probabilities of the categories, without a graph."""
        return self.drawn.probs

    @property
    def evaluations(self) -> int:
        """How many points f is evaluated at."""
        extra = None if self.added is None else self.added.one_hots
        points: int = self.drawn.indices.shape[0]
        return points if extra is None else points + extra.shape[0]

    @property
    def distinct(self) -> Tensor | None:
        """`[*batch]`, how many distinct points there are, where they were compared; f behind them is not used."""
        return self.drawn.distinct

    @property
    def mode(self) -> Tensor:
        """The most probable point, of the logits' shape and dtype: the first where several are; 0 where masked off."""
        best = category_logits(self.logits.detach(), self.latent, self.mask).argmax(-1)
        one_hots = one_hot(best, self.drawn.logits.shape[-1], self.logits.dtype)
        if self.mask is not None:
            one_hots = torch.where(self.mask.unsqueeze(-1), one_hots, 0.0)
        return self.latent.points(one_hots)

    @property
    def variables(self) -> torch.Size:
        """The logits' shape without the categories."""
        return self.logits.shape[: self.logits.ndim - self.latent.rank]

    def active(self, batch_dims: int) -> Tensor | None:
        """`[*batch]`, True where a value has any variable that takes part; None without a mask."""
        if self.mask is None:
            return None
        mask = self.mask.expand(self.variables)
        return mask.flatten(batch_dims).any(-1) if batch_dims < mask.ndim else mask

    def __repr__(self) -> str:
        return f"Draw({self.indices.shape[0]} points of {tuple(self.variables)} {self.latent.name} variables)"


def given(logits: Tensor, indices: Tensor, latent: Latent, mask: Tensor | None = None) -> Draw:
    """A draw of points that are given, which no coupling has seen yet.

    Args:
        logits: the user's.
        indices: int64 `[S, *variables]`.
        latent: what the logits mean.
        mask: boolean, broadcastable to `[*variables]`.
    """
    return Draw(logits, Drawn(indices, category_logits(logits.detach(), latent, None), mask), latent)


def refuse_spoiled(draw: Draw) -> None:
    """Raise a ValueError where no surrogate may be taken of a draw any more.

    So it is where its logits were changed in place since, as far as torch tells, which it does not of `logits.data`;
    and of a draw of torch.inference_mode, which is over, where a gradient is wanted.
    """
    logits, ids, before = draw.logits, draw.drawn.indices, draw._version
    if not has_entries(logits):
        return
    # A copy's copy of the logits counts anew.
    stale = before is not None and before[0] == id(logits) and before[1] != logits._version
    wanted = logits.requires_grad and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    kept = wanted and ids.is_inference() and has_entries(ids)
    if stale or kept:
        checks.unspoiled(stale, kept)


def of_possible(draw: Draw, gradient: Tensor) -> Tensor:
    """A gradient w.r.t. points, without its entries at what has probability 0, which may be infinite or NaN."""
    return torch.where(draw._possible(), gradient, 0.0)


def _version(logits: Tensor) -> tuple[int, int] | None:
    """Which tensor it is, and how often it was changed in place, where torch counts."""
    counts = has_entries(logits) and not logits.is_inference()
    return (id(logits), logits._version) if counts else None


def possible(category_logits: Tensor) -> Tensor:
    """Which categories have a probability that is not 0, nor so small that it has lost digits to underflow."""
    return category_logits >= category_logits.amax(-1, keepdim=True) + _lowest(
        category_logits.dtype, category_logits.shape[-1]
    )


def _lowest(dtype: torch.dtype, categories: int) -> float:
    """How far below the largest logit a category is possible."""
    return math.log(torch.finfo(dtype).tiny * categories)


def category_logits_below_zero(logits: Tensor, latent: Latent, mask: Tensor | None) -> Tensor:
    """`category_logits` less the largest of each row, for arithmetic that is to see no common offset.

    Probabilities are blind to an offset, but a temperature, noise or a rounding is not.
    """
    categories = category_logits(logits, latent, mask)
    return categories - categories.detach().amax(-1, keepdim=True)


def category_logits(logits: Tensor, latent: Latent, mask: Tensor | None) -> Tensor:
    """Category logits `[*variables, C]` in at least float32; a masked-off variable is certain to be category 0."""
    if logits.dtype is not torch.float32:
        logits = logits.to(wide_dtype(logits.dtype))
    if mask is not None and not latent.rank:
        # Padding may hold anything, NaN included, and must not reach the arithmetic, or the way back through it.
        logits = torch.where(mask, logits, 0.0)
    categories = latent.category_logits(logits)
    return categories if mask is None else switch_off(categories, mask)
