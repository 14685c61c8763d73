"""Weights: what multiplies the values, or their differences, to make a gradient."""

from discretegrad.weights.base import Weights, weigh
from discretegrad.weights.local import LocalExpectations
from discretegrad.weights.pairs import Importance, RaoBlackwell, pair_statistic
from discretegrad.weights.score import Score

__all__ = ["Importance", "LocalExpectations", "RaoBlackwell", "Score", "Weights", "pair_statistic", "weigh"]
