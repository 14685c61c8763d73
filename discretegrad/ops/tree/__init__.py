"""Antithetic pairs on a binary tree over the categories: sampling, their exact law, and their weights."""

from discretegrad.ops.tree.reference import TreePlan, importance, pair_law, plan, rao_blackwell, sample_pairs
from discretegrad.ops.tree.topology import Topology, TreeLike, as_tree, huffman, leaves, topology

__all__ = [
    "Topology",
    "TreeLike",
    "TreePlan",
    "as_tree",
    "huffman",
    "importance",
    "leaves",
    "pair_law",
    "plan",
    "rao_blackwell",
    "sample_pairs",
    "topology",
]
