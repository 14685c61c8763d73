"""Races whose noise is swapped between two categories, and the law of the noise given who won them."""

from discretegrad.ops.swap.integrate import integrate_all, integrate_one
from discretegrad.ops.swap.reference import all_swaps, flat_dirichlet, swap_number, swapped_winners

__all__ = [
    "all_swaps",
    "flat_dirichlet",
    "integrate_all",
    "integrate_one",
    "swap_number",
    "swapped_winners",
]
