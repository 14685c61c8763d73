"""Gumbel noise, free and given which category it makes the largest."""

from discretegrad.ops.gumbel.reference import conditional_gumbel, gumbel

__all__ = ["conditional_gumbel", "gumbel"]
