"""Modules with a state or parameters: baselines."""

from discretegrad.nn.baseline import Baseline, LearnedBaseline, RunningMean

__all__ = ["Baseline", "LearnedBaseline", "RunningMean"]
