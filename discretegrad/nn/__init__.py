"""Modules with a state or parameters: baselines and other control variates that learn; a layer for f on ids."""

from discretegrad.nn.baseline import Baseline, LearnedBaseline, RunningMean
from discretegrad.nn.learner import Learner
from discretegrad.nn.nvil import NVILBaseline
from discretegrad.nn.one_hot_linear import OneHotLinear
from discretegrad.nn.polynomial import LinearControlVariate, QuadraticControlVariate
from discretegrad.nn.share import EstimatedShare
from discretegrad.nn.tuned import LearnedRelaxation, LearnedStein, LearnedTaylor, Tuned

__all__ = [
    "Baseline",
    "EstimatedShare",
    "LearnedBaseline",
    "LearnedRelaxation",
    "LearnedStein",
    "LearnedTaylor",
    "Learner",
    "LinearControlVariate",
    "NVILBaseline",
    "OneHotLinear",
    "QuadraticControlVariate",
    "RunningMean",
    "Tuned",
]
