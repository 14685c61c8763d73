"""Gradient estimators for discrete latent variables: composable, proved unbiased where they say so, measured."""

from discretegrad import exact, functional, nn, objectives
from discretegrad.control_variate import BatchLeaveOneOut, LeaveOneOut
from discretegrad.core import Composition, Estimator, Pathwise
from discretegrad.coupling import Antithetic, Enumerate, Independent, MirroredUniforms, StickBreaking, Swaps, Tree
from discretegrad.draw import Draw
from discretegrad.estimators import (
    ARM,
    ARS,
    ARSM,
    ESTIMATORS,
    RLOO,
    ARSMPlus,
    ARSPlus,
    DisARM,
    DisARMIW,
    DisARMSB,
    DisARMTree,
    Exact,
    GumbelSoftmax,
    Reinforce,
    StraightThrough,
    expectation,
)
from discretegrad.weights import ChangedDirichletScore, DirichletScore, Importance, RaoBlackwell, Score, UniformScore

__version__ = "0.1.0"

__all__ = [
    "ARM",
    "ARS",
    "ARSM",
    "ESTIMATORS",
    "RLOO",
    "ARSMPlus",
    "ARSPlus",
    "Antithetic",
    "BatchLeaveOneOut",
    "ChangedDirichletScore",
    "Composition",
    "DirichletScore",
    "DisARM",
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
    "MirroredUniforms",
    "Pathwise",
    "RaoBlackwell",
    "Reinforce",
    "Score",
    "StickBreaking",
    "StraightThrough",
    "Swaps",
    "Tree",
    "UniformScore",
    "exact",
    "expectation",
    "functional",
    "nn",
    "objectives",
]
