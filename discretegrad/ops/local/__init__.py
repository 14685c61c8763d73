"""Local expectations: all categories of one variable, the others held."""

from discretegrad.ops.local.reference import chosen_probabilities, expectation_gradients, points

__all__ = ["chosen_probabilities", "expectation_gradients", "points"]
