"""Linear and quadratic functions of the points, whose expectations have exact gradients."""

from discretegrad.ops.polynomial.reference import curvature_product, jacobian, mean_coefficients

__all__ = ["curvature_product", "jacobian", "mean_coefficients"]
