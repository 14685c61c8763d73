"""Gradient estimators for discrete latent variables: composable, proved unbiased where they say so, measured."""

from discretegrad import exact, functional, nn, objectives
from discretegrad.control_variate import BatchLeaveOneOut, LeaveOneOut
from discretegrad.core import Composition, Estimator, Pathwise
from discretegrad.coupling import Antithetic, Enumerate, Independent, NearlyDistinct, StickBreaking, Tree
from discretegrad.draw import Draw
from discretegrad.estimators import (
    ESTIMATORS,
    RLOO,
    DisARM,
    DisARMIW,
    DisARMSB,
    DisARMTree,
    Exact,
    Flow,
    GumbelSoftmax,
    Reinforce,
    StraightThrough,
    expectation,
)
from discretegrad.weights import Importance, MinimumNorm, RaoBlackwell, Score

__version__ = "0.1.0"

__all__ = [
    "ESTIMATORS",
    "RLOO",
    "Antithetic",
    "BatchLeaveOneOut",
    "Composition",
    "DisARM",
    "DisARMIW",
    "DisARMSB",
    "DisARMTree",
    "Draw",
    "Enumerate",
    "Estimator",
    "Exact",
    "Flow",
    "GumbelSoftmax",
    "Importance",
    "Independent",
    "LeaveOneOut",
    "MinimumNorm",
    "NearlyDistinct",
    "Pathwise",
    "RaoBlackwell",
    "Reinforce",
    "Score",
    "StickBreaking",
    "StraightThrough",
    "Tree",
    "exact",
    "expectation",
    "functional",
    "nn",
    "objectives",
]
