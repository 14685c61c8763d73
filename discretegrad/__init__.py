"""Gradient estimators for discrete latent variables: composable, proved unbiased where they say so, measured."""

from discretegrad import exact, functional, nn, objectives
from discretegrad.control_variate import BatchLeaveOneOut, LeaveOneOut
from discretegrad.core import Composition, Estimator, Pathwise
from discretegrad.coupling import Antithetic, Copula, Enumerate, Independent, StickBreaking, Tree
from discretegrad.draw import Draw
from discretegrad.estimators import (
    ARMS,
    CARMS,
    ESTIMATORS,
    IMLE,
    RLOO,
    DisARM,
    DisARMIW,
    DisARMSB,
    DisARMTree,
    Exact,
    GappedST,
    GumbelRao,
    GumbelSoftmax,
    Reinforce,
    ReinMax,
    StraightThrough,
    expectation,
)
from discretegrad.weights import Importance, RaoBlackwell, Score

__version__ = "0.1.0"

__all__ = [
    "ARMS",
    "CARMS",
    "ESTIMATORS",
    "IMLE",
    "RLOO",
    "Antithetic",
    "BatchLeaveOneOut",
    "Composition",
    "Copula",
    "DisARM",
    "DisARMIW",
    "DisARMSB",
    "DisARMTree",
    "Draw",
    "Enumerate",
    "Estimator",
    "Exact",
    "GappedST",
    "GumbelRao",
    "GumbelSoftmax",
    "Importance",
    "Independent",
    "LeaveOneOut",
    "Pathwise",
    "RaoBlackwell",
    "ReinMax",
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
