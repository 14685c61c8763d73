"""Gumbel-perturbed logits given which of them is the largest, and the gradients of their softmax."""

from discretegrad.ops.relaxation.reference import (
    conditional_pull_back,
    per_category,
    perturbed,
    soften,
    softmax_pull_back,
)

__all__ = [
    "conditional_pull_back",
    "per_category",
    "perturbed",
    "soften",
    "softmax_pull_back",
]
