"""Gradient estimators for discrete latent variables: composable, proved unbiased where they say so, measured."""

from discretegrad import exact, functional, nn, objectives
from discretegrad.control_variate import BatchLeaveOneOut, DoubleTaylor, LeaveOneOut, Relaxed, Stein, Taylor
from discretegrad.core import Composition, Estimator, Pathwise
from discretegrad.coupling import Antithetic, Enumerate, Independent, StickBreaking, Tree
from discretegrad.draw import Draw
from discretegrad.estimators import (
    ESTIMATORS,
    REBAR,
    RELAX,
    RLOO,
    RODEO,
    DisARM,
    DisARMIW,
    DisARMSB,
    DisARMTree,
    DoubleCV,
    Exact,
    GumbelSoftmax,
    MuProp,
    Reinforce,
    StraightThrough,
    expectation,
)
from discretegrad.weights import Importance, RaoBlackwell, Score

__version__ = "0.1.0"

__all__ = [
    "ESTIMATORS",
    "REBAR",
    "RELAX",
    "RLOO",
    "RODEO",
    "Antithetic",
    "BatchLeaveOneOut",
    "Composition",
    "DisARM",
    "DisARMIW",
    "DisARMSB",
    "DisARMTree",
    "DoubleCV",
    "DoubleTaylor",
    "Draw",
    "Enumerate",
    "Estimator",
    "Exact",
    "GumbelSoftmax",
    "Importance",
    "Independent",
    "LeaveOneOut",
    "MuProp",
    "Pathwise",
    "RaoBlackwell",
    "Reinforce",
    "Relaxed",
    "Score",
    "Stein",
    "StickBreaking",
    "StraightThrough",
    "Taylor",
    "Tree",
    "exact",
    "expectation",
    "functional",
    "nn",
    "objectives",
]
