"""Readable reference of the inverse-CDF draw."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_cdf(probs: Tensor, noise: Tensor) -> Tensor:
    """The first category whose cumulative probability exceeds `noise` times the total.

    Args:
        probs: `[..., C]`, non-negative, not necessarily normalised, at least one entry positive.
        noise: uniform on [0, 1), broadcastable against `probs` without its last dimension. Sums are as fine as it is:
            float64 noise gives rare categories their frequency, whatever the dtype of `probs`.

    Returns:
        int64 ids. A category of probability zero is never returned.
    """
    # A parallel scan need not be monotone to the last bit, so an impossible category could otherwise win by
    # rounding: only possible ones compete, and the threshold stays below the largest of *their* sums.
    cumulative = torch.where(probs > 0, probs.cumsum(-1, dtype=torch.promote_types(probs.dtype, noise.dtype)), -1.0)
    threshold = noise.unsqueeze(-1) * cumulative.amax(-1, keepdim=True)
    return (cumulative > threshold).to(torch.uint8).argmax(-1)


def categorical(logits: Tensor, noise: Tensor) -> Tensor:
    """Independent draws from logits.

    Args:
        logits: `[*v, C]`, each row with a finite entry; -inf forbids a category.
        noise: uniform on [0, 1), `[S, *v]`.

    Returns:
        int64 ids `[S, *v]`.
    """
    return inverse_cdf(logits.softmax(-1), noise)
