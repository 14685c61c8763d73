"""Minimum-norm weights of exchangeable couplings, and the nearly distinct pair, whose weights are in closed form."""

from discretegrad.ops.flow.reference import (
    DistinctPlan,
    connected,
    distinct_law,
    distinct_plan,
    potential,
    sample_distinct,
    separable,
)

__all__ = [
    "DistinctPlan",
    "connected",
    "distinct_law",
    "distinct_plan",
    "potential",
    "sample_distinct",
    "separable",
]
