"""Joint values of several variables: the best, some without replacement, all others, and the weights of a set."""

from discretegrad.ops.joint.beam import best, without_replacement
from discretegrad.ops.joint.race import estimates_given_first, first_ratios, log_probability
from discretegrad.ops.joint.rest import log_joint, log_rest, repeats, sample_rest

__all__ = [
    "best",
    "estimates_given_first",
    "first_ratios",
    "log_joint",
    "log_probability",
    "log_rest",
    "repeats",
    "sample_rest",
    "without_replacement",
]
