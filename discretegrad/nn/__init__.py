"""Modules: baselines and other control variates that learn, what holds them; a layer of latents, one for f on ids."""

from discretegrad.nn.baseline import Baseline, LearnedBaseline, RunningMean
from discretegrad.nn.discrete_latent import DiscreteLatent, LatentSample
from discretegrad.nn.learner import Learner
from discretegrad.nn.learners import Learners
from discretegrad.nn.nvil import NVILBaseline
from discretegrad.nn.one_hot_linear import OneHotLinear
from discretegrad.nn.polynomial import LinearControlVariate, QuadraticControlVariate
from discretegrad.nn.share import EstimatedShare
from discretegrad.nn.tuned import LearnedRelaxation, LearnedStein, LearnedTaylor, Tuned

__all__ = [
    "Baseline",
    "DiscreteLatent",
    "EstimatedShare",
    "LatentSample",
    "LearnedBaseline",
    "LearnedRelaxation",
    "LearnedStein",
    "LearnedTaylor",
    "Learner",
    "Learners",
    "LinearControlVariate",
    "NVILBaseline",
    "OneHotLinear",
    "QuadraticControlVariate",
    "RunningMean",
    "Tuned",
]
