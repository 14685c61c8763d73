"""Linear functions of one-hots: their value at points, and the gradient of their mean."""

from discretegrad.ops.taylor.reference import about_mean, at, at_mean, gradient_of_mean, mean_and_gradient

__all__ = [
    "about_mean",
    "at",
    "at_mean",
    "gradient_of_mean",
    "mean_and_gradient",
]
