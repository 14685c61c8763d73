"""Quadratic functions of the points, whose expectations have exact gradients; linear ones are in `taylor`."""

from discretegrad.ops.polynomial.reference import curvature_product, mean_coefficients

__all__ = ["curvature_product", "mean_coefficients"]
