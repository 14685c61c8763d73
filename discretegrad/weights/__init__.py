"""Weights: what multiplies the values, or their differences, to make a gradient."""

from discretegrad.weights.augmented import ChangedDirichletScore, DirichletScore, UniformScore
from discretegrad.weights.base import AnyWeights, Weights, weigh
from discretegrad.weights.local import LocalExpectations
from discretegrad.weights.minimum_norm import MinimumNorm
from discretegrad.weights.pairs import Importance, RaoBlackwell, Share, pair_statistic
from discretegrad.weights.score import Score

__all__ = [
    "AnyWeights",
    "ChangedDirichletScore",
    "DirichletScore",
    "Importance",
    "LocalExpectations",
    "MinimumNorm",
    "RaoBlackwell",
    "Score",
    "Share",
    "UniformScore",
    "Weights",
    "pair_statistic",
    "weigh",
]
