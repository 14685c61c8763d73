"""What a latent variable is: how its logits become categories, and how a gradient goes back to them.

All estimators are written once, for categories. A Bernoulli latent is the two categories {0, 1}; only the
spelling of its logits and of its points differs, and that difference lives here.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Latent(Protocol):
    """The spelling of one kind of latent variable."""

    name: str
    rank: int
    """Trailing dimensions of the logits that belong to one variable: 1 for [C], 0 for a single logit."""

    def category_logits(self, logits: Tensor) -> Tensor:
        """Logits over categories, `[*variables, C]`."""
        ...

    def pull_back(self, gradient: Tensor) -> Tensor:
        """Turn a gradient w.r.t. category logits `[*variables, C]` into one w.r.t. the user's logits."""
        ...

    def points(self, one_hots: Tensor) -> Tensor:
        """Turn (possibly relaxed) one-hots `[S, *variables, C]` into what f is called with."""
        ...

    def lift(self, grad_f: Tensor) -> Tensor:
        """Turn a gradient w.r.t. points into one w.r.t. one-hots `[S, *variables, C]`."""
        ...

    def possible(self, categories: Tensor) -> Tensor:
        """Where the gradient of f at a point counts, of a point's shape, from which categories are possible."""
        ...


class Categorical:
    """Logits `[*variables, C]`, points one-hot `[S, *variables, C]`."""

    name = "categorical"
    rank = 1

    def category_logits(self, logits: Tensor) -> Tensor:
        """The logits themselves."""
        return logits

    def pull_back(self, gradient: Tensor) -> Tensor:
        """The gradient itself."""
        return gradient

    def points(self, one_hots: Tensor) -> Tensor:
        """The one-hots themselves."""
        return one_hots

    def lift(self, grad_f: Tensor) -> Tensor:
        """The gradient itself."""
        return grad_f

    def possible(self, categories: Tensor) -> Tensor:
        """At the categories that are possible."""
        return categories


class Bernoulli:
    """Logits `[*variables]` of P(z = 1), points in {0, 1} of shape `[S, *variables]`."""

    name = "bernoulli"
    rank = 0

    def category_logits(self, logits: Tensor) -> Tensor:
        """`[log P(0), log P(1)]`: log-sigmoids rather than `[0, logit]`, which a logit of +inf would make NaN."""
        return torch.stack((F.logsigmoid(-logits), F.logsigmoid(logits)), -1)

    def pull_back(self, gradient: Tensor) -> Tensor:
        """The entry of category 1: gradients w.r.t. category logits sum to zero, so it carries everything."""
        return gradient[..., 1]

    def points(self, one_hots: Tensor) -> Tensor:
        """The entry of category 1."""
        return one_hots[..., 1]

    def lift(self, grad_f: Tensor) -> Tensor:
        """f looks at the entry of category 1 only."""
        return torch.stack((torch.zeros_like(grad_f), grad_f), -1)

    def possible(self, categories: Tensor) -> Tensor:
        """Where both values are possible."""
        return categories.all(-1)


LATENTS: dict[str, Latent] = {latent.name: latent for latent in (Categorical(), Bernoulli())}
