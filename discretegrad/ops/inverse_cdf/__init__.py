"""Draw category ids from unnormalised probabilities and uniform noise."""

from discretegrad.ops.inverse_cdf.reference import inverse_cdf

__all__ = [
    "inverse_cdf",
]
