"""The autograd function under all estimators that only need values of f."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from discretegrad.ops.dispatch import forced, forcing, has_entries

NO_GRAPH = nullcontext()
"""In the place of torch.no_grad, which takes longer, where nothing has a graph."""


def attach_gradient(value: Tensor, logits: Tensor, gradient: Tensor) -> Tensor:
    """Return `value` with `gradient` as its gradient w.r.t. `logits`, beside the graph that `value` has already.

    Args:
        value: `[*batch]`.
        logits: begins with `*batch`.
        gradient: of the logits' shape; entry b is the gradient of `value[b]`.

    Returns:
        `[*batch]`. Differentiating its gradient once more is refused with a sentence.

    Raises:
        ValueError: where the shapes do not belong together.
    """
    if gradient.shape != logits.shape or value.shape != logits.shape[: value.ndim]:
        raise ValueError(
            f"the gradient must have the logits' shape, which must begin with the value's; got gradient "
            f"{tuple(gradient.shape)}, logits {tuple(logits.shape)}, value {tuple(value.shape)}."
        )
    return _AttachGradient.apply(value, logits, gradient)


def attach_gradient_later(
    value: Tensor,
    logits: Tensor,
    gradient: Callable[[Tensor | None], Tensor],
    *of: Tensor,
    average: Tensor | None = None,
) -> Tensor:
    """As `attach_gradient`, of a gradient that is made in the backward pass: already scaled, so in one pass less.

    Args:
        value: `[*batch]`, an ordinary tensor, as the logits are; or `[S, *batch]`, whose mean it is attached to.
        logits: begins with `*batch`.
        gradient: makes the gradient, times `[*batch]` numbers or, for None, as it is.
        of: the tensors that it is made of, which must not be changed before.
        average: that mean, without a graph; None where there is nothing to average.
    """
    return _AttachGradientLater.apply(value, logits, (gradient, of, average))


def keep_gradient(tensor: Tensor, where: Tensor) -> Tensor:
    """The same entries, whose gradient is dropped before any arithmetic where `where`, which broadcasts, is False."""
    return _KeepGradient.apply(tensor, where)


class _AttachGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, logits: Tensor, gradient: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        _, logits, gradient = inputs
        ctx.save_for_backward(logits, gradient)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None]:
        logits, gradient = ctx.saved_tensors
        return grad_output, _scaled(grad_output, gradient, logits), None


class _AttachGradientLater(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        logits: Tensor,
        later: tuple[Callable[[Tensor | None], Tensor], tuple[Tensor, ...], Tensor | None],
    ) -> Tensor:
        ctx.gradient, of, average = later
        ctx.points = 0 if average is None else value.shape[0]
        ctx.forced = forced()  # CUDA's backward passes run in a thread of their own
        ctx.save_for_backward(logits, *of)  # so that torch notices where they were changed
        return value.clone() if average is None else average

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor, None]:
        of_value = grad_output if ctx.needs_input_grad[0] else None
        if of_value is not None and ctx.points:
            of_value = (of_value / ctx.points).expand(ctx.points, *of_value.shape)
        if ctx.forced == forced():
            return of_value, _made(ctx, grad_output), None
        with forcing(ctx.forced):
            return of_value, _made(ctx, grad_output), None


class _KeepGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(tensor: Tensor, where: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (where,) = ctx.saved_tensors
        return torch.where(where, grad_output, 0.0), None


def _made(ctx: Any, grad_output: Tensor) -> Tensor:
    """The gradient that was put off, times that of the output."""
    logits = ctx.saved_tensors[0]
    if torch.is_grad_enabled() or not has_entries(grad_output):
        with torch.no_grad():
            gradient = ctx.gradient(None)
        return _scaled(grad_output, gradient, logits)
    made: Tensor = ctx.gradient(grad_output).to(logits.dtype)
    return made


def _scaled(grad_output: Tensor, gradient: Tensor, logits: Tensor) -> Tensor:
    # Rounded to the logits' dtype only now: in half precision a loss scale must come before the rounding.
    scaled = (append_dims(grad_output.to(gradient.dtype), gradient.ndim) * gradient).to(logits.dtype)
    # Gradients are recorded here only where somebody means to differentiate them once more.
    return _RefuseDoubleBackward.apply(scaled, logits) if torch.is_grad_enabled() else scaled


class _RefuseDoubleBackward(torch.autograd.Function):
    """Hand the gradient on as a function of the logits, which it is, whose derivative is not to be had."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, logits: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError(
            "the estimated gradient cannot be differentiated again: it is a random draw whose own derivative is not "
            "an estimate of the second derivative of E f. For small problems discretegrad.exact.expectation is "
            "differentiable as often as you like."
        )


def append_dims(tensor: Tensor, ndim: int) -> Tensor:
    """Append dimensions of 1 up to `ndim`."""
    return tensor.reshape(tensor.shape + (1,) * (ndim - tensor.ndim))
