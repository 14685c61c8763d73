"""Gradient estimators for discrete latent variables: composable, proved unbiased where they say so, measured."""

from discretegrad import exact, functional, nn, objectives
from discretegrad.control_variate import BatchLeaveOneOut, LeaveOneOut
from discretegrad.core import Composition, Estimator, Pathwise
from discretegrad.coupling import (
    Antithetic,
    Enumerate,
    Independent,
    StickBreaking,
    Tree,
)
from discretegrad.draw import Draw
from discretegrad.estimators import (
    ESTIMATORS,
    NVIL,
    RLOO,
    VIMCO,
    DisARM,
    DisARMBound,
    DisARMIW,
    DisARMSB,
    DisARMTree,
    Exact,
    GumbelSoftmax,
    Reinforce,
    StraightThrough,
    VarGrad,
    expectation,
)
from discretegrad.weights import Importance, RaoBlackwell, Score

__version__ = "0.1.0"

__all__ = [
    "ESTIMATORS",
    "NVIL",
    "RLOO",
    "VIMCO",
    "Antithetic",
    "BatchLeaveOneOut",
    "Composition",
    "DisARM",
    "DisARMBound",
    "DisARMIW",
    "DisARMSB",
    "DisARMTree",
    "Draw",
    "Enumerate",
    "Estimator",
    "Exact",
    "GumbelSoftmax",
    "Importance",
    "Independent",
    "LeaveOneOut",
    "Pathwise",
    "RaoBlackwell",
    "Reinforce",
    "Score",
    "StickBreaking",
    "StraightThrough",
    "Tree",
    "VarGrad",
    "exact",
    "expectation",
    "functional",
    "nn",
    "objectives",
]
