"""Modules with a state or parameters: baselines and other control variates that learn."""

from discretegrad.nn.baseline import Baseline, LearnedBaseline, RunningMean
from discretegrad.nn.learner import Learner
from discretegrad.nn.nvil import NVILBaseline

__all__ = ["Baseline", "LearnedBaseline", "Learner", "NVILBaseline", "RunningMean"]
