"""Control variates: what is subtracted from the values before they are weighted, and added back in closed form."""

from discretegrad.control_variate.base import Chain, ControlVariate, Evaluation, Residual, less, wants_points
from discretegrad.control_variate.leave_one_out import BatchLeaveOneOut, LeaveOneOut
from discretegrad.control_variate.relaxed import Relaxed
from discretegrad.control_variate.stein import Stein
from discretegrad.control_variate.taylor import DoubleTaylor, Taylor
from discretegrad.control_variate.unordered import UnorderedBaseline

__all__ = [
    "BatchLeaveOneOut",
    "Chain",
    "ControlVariate",
    "DoubleTaylor",
    "Evaluation",
    "LeaveOneOut",
    "Relaxed",
    "Residual",
    "Stein",
    "Taylor",
    "UnorderedBaseline",
    "less",
    "wants_points",
]
