"""Quadratic functions of the points, whose expectations have exact gradients; linear ones are in `taylor`."""

from discretegrad.ops.polynomial.reference import curvature_product, half_curvature, mean_coefficients

__all__ = ["curvature_product", "half_curvature", "mean_coefficients"]
