"""Category ids from jointly antithetic uniforms: sampling, the exact law of a pair, and that of all points."""

from discretegrad.ops.copula.families import Dirichlet, Family, Gaussian
from discretegrad.ops.copula.reference import ends, joint_law, pair_probs, sample

__all__ = ["Dirichlet", "Family", "Gaussian", "ends", "joint_law", "pair_probs", "sample"]
