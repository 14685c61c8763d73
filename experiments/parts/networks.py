"""Small networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from experiments.errors import UserError, require_count


def side_network(width: int, outputs: Sequence[int], slope: float = 0.2) -> nn.Sequential:
    """From a context of any size to `prod(outputs)` numbers, zero at the start: for what learns inside an estimator."""
    require_count("a side network's width", width)
    last = nn.Linear(width, math.prod(outputs))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LazyLinear(width), nn.LeakyReLU(slope), last)


def require_sizes(hidden: object, latent: object, **counts: object) -> None:
    """Refuse sizes of a model of discrete latents that cannot be meant.

    Args:
        hidden: widths of hidden layers.
        latent: the kind of the latents.
        counts: integers of at least 1.

    Raises:
        UserError: that calls them by their names in the configuration's `model`.
    """
    for name, count in counts.items():
        require_count(f"model.{name}", count)
    require_choice("latent", latent, "categorical", "bernoulli")
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise UserError(f"model.hidden must be a list of widths such as [512, 256], or [], not {hidden!r}.")
    for width in hidden:
        require_count("each width in model.hidden", width)


def require_choice(name: str, value: object, *known: str) -> None:
    """Refuse what is none of the values that `model.name` has, as `require_sizes` does."""
    if value not in known:
        raise UserError(f"model.{name} is {' or '.join(known)}, not {value!r}.")


def perceptron(widths: Sequence[int], slope: float, bias: Tensor | None = None, init: str = "xavier") -> nn.Sequential:
    """Linear layers with leaky rectifiers between them.

    Args:
        widths: of the input, the hidden layers and the output.
        slope: of the rectifiers below zero; 0 for plain ones.
        bias: where the last layer's bias starts.
        init: "xavier", with biases of zero, as the code of arXiv 2106.08056; or "torch", its own default.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        if init == "xavier":
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        layers += [linear, nn.LeakyReLU(slope)]
    if bias is not None:
        linear.bias.data.copy_(bias)
    return nn.Sequential(*layers[:-1])
