"""Draw category ids from unnormalised probabilities, or from logits, and uniform noise."""

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.inverse_cdf import fused, native, reference
from discretegrad.ops.layout import switch_off


def inverse_cdf(probs: Tensor, noise: Tensor) -> Tensor:
    """See `reference.inverse_cdf`."""
    chosen = dispatch.implementation(probs)
    if chosen == "triton":
        from discretegrad.ops.inverse_cdf import triton

        return triton.inverse_cdf(probs, noise)
    return (reference if chosen == "reference" else fused).inverse_cdf(probs, noise)


def categorical(logits: Tensor, noise: Tensor) -> Tensor:
    """See `reference.categorical`. Kernels read the logits once, and write no probabilities."""
    return draw(logits, noise)[0]


def draw(logits: Tensor, noise: Tensor, mask: Tensor | None = None, chosen: str | None = None) -> tuple[Tensor, bool]:
    """The same; and False where kernels that look met a row of no probabilities.

    Args:
        logits: `[*v, C]`.
        noise: uniform on [0, 1), `[S, *v]`; kernels take a seed that is expanded to that shape, too.
        mask: boolean, broadcastable to `[*v]`; ids are 0 where it is False, whatever the logits.
        chosen: the implementation, where the caller has asked for it already.
    """
    chosen = chosen or dispatch.implementation(logits)
    if chosen == "triton":
        from discretegrad.ops.inverse_cdf import triton

        return triton.categorical(logits, noise, mask), True
    if chosen == "native":
        return native.draw(logits, noise, mask)
    logits = switch_off(logits, mask)
    return inverse_cdf(logits.softmax(-1), noise), True


__all__ = [
    "categorical",
    "draw",
    "inverse_cdf",
]
