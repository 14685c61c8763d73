"""A linear layer on one-hots that are given as ids, and never made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discretegrad import checks


class OneHotLinear(nn.Module):
    """What `nn.Linear(V * C, out_features)` makes of V one-hots of C categories, from their ids: V rows are added.

        y = bias + sum_v weight[v * C + id_v]

    Ids take 1 / C of the linear layer's arithmetic, forward and backward, and a sort of the ids: of less than some 16
    categories the linear layer is as fast. One-hots, relaxed or not, are taken as well, so that the same layer serves
    estimators that differentiate f. Values and gradients, of any order, are those of the linear layer. For Bernoulli
    latents use `nn.Linear` on the points in {0, 1}.

    The state is `weight`, `[V * C, out_features]`, the transpose of the linear layer's so that rows are contiguous,
    and `bias`, `[out_features]`. Both start with the law of the linear layer's: uniform on +- 1 / sqrt(V * C). The
    gradient of `weight` is dense, and made without atomic additions: ids are sorted, so that it is a sum of rows too.

    Ids go through `torch.compile` and, apart from it, through `torch.func.vmap` and reverse-mode transforms; for
    derivatives in forward mode give one-hots.

    Args:
        variables: V, or the sizes of an event of several dimensions.
        categories: C.
        out_features: of the output.
        bias: whether there is one.
        low: what the layer sees at a category that is off.
        high: what it sees at the one that is on; -1 and 1 are a linear layer on `2 * points - 1`.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: for sizes that are not integers of at least 1.

    Example:
        >>> import torch, discretegrad as dg
        >>> linear = torch.nn.Linear(3 * 4, 5)
        >>> layer = dg.nn.OneHotLinear.from_linear(linear, variables=3, categories=4)
        >>> draw = dg.RLOO().sample(torch.zeros(7, 3, 4))
        >>> torch.testing.assert_close(layer(draw.indices), linear(draw.points.flatten(-2)))
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        variables: int | Sequence[int],
        categories: int,
        out_features: int,
        bias: bool = True,
        low: float = 0.0,
        high: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.variables = tuple(variables) if isinstance(variables, Sequence) else (variables,)
        if not self.variables:
            raise ValueError("variables must name at least one dimension of an event.")
        for size in self.variables:
            checks.count(size, "variables")
        checks.count(categories, "categories")
        checks.count(out_features, "out_features")
        self.categories, self.out_features, self.low, self.high = categories, out_features, low, high
        self.weight = nn.Parameter(torch.empty(self._width, out_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        limit = 1 / math.sqrt(self._width)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -limit, limit)

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        variables: int | Sequence[int],
        categories: int,
        low: float = 0.0,
        high: float = 1.0,
    ) -> OneHotLinear:
        """The layer with a copy of the parameters of a linear one, whose inputs are `low` and `high` for off and on.

        Raises:
            ValueError: where the linear layer has not as many inputs.
        """
        event = tuple(variables) if isinstance(variables, Sequence) else (variables,)
        if linear.in_features != math.prod(event) * categories:
            raise ValueError(
                f"a linear layer on {' x '.join(map(str, event))} one-hots of {categories} categories has "
                f"{math.prod(event) * categories} inputs; this one has {linear.in_features}."
            )
        weight, bias = linear.weight, linear.bias
        layer = cast(  # without drawing parameters that would be overwritten
            OneHotLinear,
            nn.utils.skip_init(
                cls, event, categories, linear.out_features, bias is not None, low, high,
                device=weight.device, dtype=weight.dtype,
            ),
        )  # fmt: skip
        with torch.no_grad():
            layer.weight.copy_(weight.t())
            if layer.bias is not None:
                layer.bias.copy_(bias)
        return layer

    def to_linear(self) -> nn.Linear:
        """The linear layer with a copy of the parameters, for flattened one-hots with `low` and `high` for 0 and 1."""
        like = {"device": self.weight.device, "dtype": self.weight.dtype}
        linear = nn.utils.skip_init(nn.Linear, self._width, self.out_features, self.bias is not None, **like)
        with torch.no_grad():
            linear.weight.copy_(self.weight.t())
            if self.bias is not None:
                linear.bias.copy_(self.bias)
        return cast(nn.Linear, linear)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        """The layer's output, `[*lead, out_features]`.

        Args:
            points: int64 ids `[*lead, *variables]`, or one-hots `[*lead, *variables, C]` of the parameters' dtype.
            mask: boolean, broadcastable to `[*lead, *variables]`; a variable where it is False adds nothing, not
                even `low`, whatever its id.

        Raises:
            TypeError, ValueError: for ids, one-hots or a mask that cannot be meant.
        """
        checks.ids_or_one_hots(points, self.variables, self.categories)
        by_ids = not points.is_floating_point()
        if mask is not None:
            checks.takes_part(mask, points.shape if by_ids else points.shape[:-1])
            points = torch.where(mask if by_ids else mask.unsqueeze(-1), points, 0)
        if by_ids:
            checks.ids_in_range(points, self.categories)
            return self._of_ids(points, mask)
        if (self.low, self.high) != (0, 1):
            points = (self.high - self.low) * points + self.low
            if mask is not None:
                points = torch.where(mask.unsqueeze(-1), points, 0)
        return F.linear(points.flatten(-1 - len(self.variables)), self.weight.t(), self.bias)

    def _of_ids(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        variables = len(self.variables)
        taken = None
        if mask is not None:
            taken = mask.expand(ids.shape).flatten(-variables).to(self.weight.dtype)
        first = torch.arange(0, self._width, self.categories, device=ids.device)
        rows = ids.flatten(-variables) + first
        lead = rows.shape[:-1]
        rows = rows.reshape(-1, len(first))
        chosen = _AddRows.apply(self.weight, rows, None if taken is None else taken.reshape(rows.shape))
        chosen = chosen.reshape(*lead, self.out_features)
        # low + (high - low) * one-hot, multiplied out: what all categories add is the same for all ids.
        constant: Tensor | None = self.bias
        if self.low != 0:
            if taken is None:
                everything = self.weight.sum(0)
            else:
                everything = taken @ self.weight.unflatten(0, (-1, self.categories)).sum(1)
            constant = self.low * everything if constant is None else constant + self.low * everything
        if constant is None:
            return chosen if self.high == 1 else self.high * chosen
        return torch.add(constant, chosen, alpha=self.high - self.low)

    @property
    def _width(self) -> int:
        """V * C."""
        return math.prod(self.variables) * self.categories

    def extra_repr(self) -> str:
        text = f"variables={self.variables}, categories={self.categories}, out_features={self.out_features}"
        text += "" if self.bias is not None else ", bias=False"
        return text if (self.low, self.high) == (0, 1) else f"{text}, low={self.low}, high={self.high}"


class _AddRows(torch.autograd.Function):
    """`sum_v taken[n, v] * weight[rows[n, v]]`, `[N, out]`; `taken` may be None for ones.

    Unlike `torch.nn.functional.embedding_bag` it has a second derivative, a rule for vmap and, in half precision, a
    fast backward.
    """

    @staticmethod
    def forward(weight: Tensor, rows: Tensor, taken: Tensor | None) -> Tensor:
        return F.embedding_bag(rows, weight, mode="sum", per_sample_weights=taken)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.height = inputs[0].shape[0]

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        return _AddToRows.apply(grad_output, *ctx.saved_tensors, ctx.height), None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], weight: Tensor, rows: Tensor, taken: Tensor | None
    ) -> tuple[Tensor, int]:
        apart = 0  # where all see the same weight
        if in_dims[0] is not None:
            weight = weight.movedim(in_dims[0], 0)
            weight, apart = weight.flatten(0, 1), weight.shape[1]
        rows, taken = _stacked(info, in_dims[1:], apart, rows, taken)
        return _AddRows.apply(weight, rows, taken).unflatten(0, (info.batch_size, -1)), 0


class _AddToRows(torch.autograd.Function):
    """The transposed map: `addend[n]` is added to the rows `rows[n, v]` of zeros, `[height, out]`.

    Row by row this is a sum of addends as well: a stable sort finds of which, so that nothing is written twice and the
    order of the additions is fixed.
    """

    @staticmethod
    def forward(addend: Tensor, rows: Tensor, taken: Tensor | None, height: int) -> Tensor:
        # Small keys sort faster.
        key = torch.int16 if height <= 2**15 else torch.int32 if height <= 2**31 else torch.int64
        ordered, position = rows.reshape(-1).to(key).sort(stable=True)
        return F.embedding_bag(
            position.div(rows.shape[1], rounding_mode="floor"),
            addend.contiguous(),
            torch.searchsorted(ordered, torch.arange(height, dtype=key, device=rows.device)),
            mode="sum",
            per_sample_weights=None if taken is None else taken.reshape(-1)[position],
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, int], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:3])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        return _AddRows.apply(grad_output, *ctx.saved_tensors), None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], addend: Tensor, rows: Tensor, taken: Tensor | None, height: int
    ) -> tuple[Tensor, int]:
        addend = _batched(addend, in_dims[0], info).flatten(0, 1)
        rows, taken = _stacked(info, in_dims[1:3], height, rows, taken)
        added = _AddToRows.apply(addend, rows, taken, info.batch_size * height)
        return added.unflatten(0, (info.batch_size, height)), 0


def _stacked(
    info: Any, in_dims: tuple[int | None, ...], apart: int, rows: Tensor, taken: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """R problems as one with R times the rows, those of each `apart` from those of the one before."""
    first = apart * torch.arange(info.batch_size, device=rows.device).reshape(-1, 1, 1)
    rows = (_batched(rows, in_dims[0], info) + first).flatten(0, 1)
    return rows, None if taken is None else _batched(taken, in_dims[1], info).flatten(0, 1)


def _batched(tensor: Tensor, dim: int | None, info: Any) -> Tensor:
    """With vmap's dimension in front, whether or not it had one."""
    return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
