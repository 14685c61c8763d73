"""Weights: what multiplies the values, or their differences, to make a gradient."""

from discretegrad.weights.augmented import ChangedDirichletScore, DirichletScore, UniformScore
from discretegrad.weights.base import Signals, Weights, weigh
from discretegrad.weights.local import LocalExpectations
from discretegrad.weights.minimum_norm import MinimumNorm
from discretegrad.weights.pairs import Importance, RaoBlackwell, Share, pair_statistic
from discretegrad.weights.score import Score

__all__ = [
    "ChangedDirichletScore",
    "DirichletScore",
    "Importance",
    "LocalExpectations",
    "MinimumNorm",
    "RaoBlackwell",
    "Score",
    "Share",
    "Signals",
    "UniformScore",
    "Weights",
    "pair_statistic",
    "weigh",
]
