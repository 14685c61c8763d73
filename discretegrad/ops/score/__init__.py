"""Gradients that are sums of one-hots: the score function, and leave-one-out as its collapsed form."""

from discretegrad.ops.score.reference import scatter, score

__all__ = [
    "scatter",
    "score",
]
