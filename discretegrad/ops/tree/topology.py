"""Binary trees over the categories as index tables.

Leaves are laid out in the order in which the tree visits them, so that every subtree is an interval of
*positions*, and a node is three numbers: its leaves are `[low, high)`, its left child's `[low, middle)`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from discretegrad.ops import order as order_ops

TreeLike: TypeAlias = "int | tuple[TreeLike, TreeLike]"
"""A full binary tree: a category id, or a pair of trees."""


class Topology(NamedTuple):
    """A tree over C leaves as tables over its C-1 inner nodes and its 2C-1 nodes (leaves first).

    A single category has one inner node, an empty one. The tables are `[C-1]` and `[2C-1]`, or carry the variables'
    dimensions in front where every variable has a tree of its own.
    """

    low: Tensor
    """`[C-1]` first position below each inner node."""
    middle: Tensor
    """`[C-1]` first position below its right child."""
    high: Tensor
    """`[C-1]` one past the last position below it."""
    parent: Tensor
    """`[2C-1]` the inner node above each node; the root is its own parent."""
    side: Tensor
    """`[2C-1]` -1 for a left child, +1 for a right child, 0 for the root."""


def balanced(low: int, high: int) -> TreeLike:
    """Split in the middle at every node; the left half takes the odd leaf."""
    if high - low == 1:
        return low
    middle = (low + high + 1) // 2
    return balanced(low, middle), balanced(middle, high)


def caterpillar(low: int, high: int) -> TreeLike:
    """Split off one leaf after the other: stick-breaking."""
    tree: TreeLike = high - 1
    for leaf in range(high - 2, low - 1, -1):
        tree = (leaf, tree)
    return tree


SHAPES: dict[str, Callable[[int, int], TreeLike]] = {"balanced": balanced, "caterpillar": caterpillar}


def leaves(tree: TreeLike) -> list[int]:
    """The leaves from left to right."""
    order: list[int] = []
    stack: list[TreeLike] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):
            stack.extend((node[1], node[0]))
        else:
            order.append(node)
    return order


def as_tree(tree: object) -> TreeLike:
    """Check a user's nested pairs; any sequence of two is a pair: a tuple, a list, one of a configuration.

    Raises:
        ValueError: where it is not a full binary tree over the categories 0..C-1.
    """

    def convert(node: object) -> TreeLike:
        if isinstance(node, int) and not isinstance(node, bool):
            return node
        if isinstance(node, Sequence) and not isinstance(node, str) and len(node) == 2:
            return convert(node[0]), convert(node[1])
        raise ValueError(
            "a tree is a category id or a pair of trees, such as ((0, 1), (2, 3)); "
            f"{node!r} is neither: every inner node needs exactly two children."
        )

    try:
        converted = convert(tree)
    except RecursionError as error:
        raise ValueError("nested pairs this deep cannot be read; a 'caterpillar' is as deep as you like.") from error
    found = sorted(leaves(converted))
    if found != list(range(len(found))):
        raise ValueError(f"a tree must hold every category 0..C-1 exactly once; this one holds {found}.")
    return converted


def topology(tree: str | TreeLike, categories: int, like: Tensor) -> tuple[Topology, Tensor]:
    """A fixed tree ("balanced", "caterpillar" or nested pairs): its tables, and the leaf at each position `[C]`.

    Args:
        tree: named, or nested pairs.
        categories: C.
        like: a tensor on whose device the tables are needed.

    Raises:
        ValueError: where nested pairs hold another number of leaves than there are categories.
    """
    # The cache keeps host-to-device copies out of the training step. Tensors of a trace must not outlive it.
    lasting = type(like) is Tensor and not torch.compiler.is_compiling()
    build = _topology if lasting else _topology.__wrapped__
    return build(tree, categories, like.device)


@functools.lru_cache(maxsize=64)
def _topology(tree: str | TreeLike, categories: int, device: torch.device) -> tuple[Topology, Tensor]:
    root = SHAPES[tree](0, categories) if isinstance(tree, str) else tree
    order = leaves(root)
    if len(order) != categories:
        raise ValueError(
            f"the tree has {len(order)} leaves but the logits have {categories} categories; give a tree with one "
            "leaf a category, or a named one such as 'balanced'."
        )
    # A single category has no inner node. An empty one, never reached, stands in for it.
    inner_nodes = max(categories - 1, 1)
    low, middle, high = [[] if categories > 1 else [0] for _ in range(3)]
    parent, side = [0] * (categories + inner_nodes), [0] * (categories + inner_nodes)
    position = 0  # of the next leaf that the walk from left to right meets

    # An explicit stack, for a caterpillar over thousands of categories is deeper than Python recurses.
    stack: list[tuple[str, TreeLike, int, int]] = [("enter", root, 0, 0)]
    while stack:
        action, node, above, hand = stack.pop()
        if action == "split":
            middle[above] = position
        elif action == "close":
            high[above] = position
        elif isinstance(node, tuple):
            inner = len(low)
            low.append(position)
            middle.append(0)
            high.append(0)
            parent[categories + inner], side[categories + inner] = above, hand
            stack += [
                ("close", 0, inner, 0),
                ("enter", node[1], inner, 1),
                ("split", 0, inner, 0),
                ("enter", node[0], inner, -1),
            ]
        else:
            parent[position], side[position] = above, hand
            position += 1

    def tensor(table: list[int]) -> Tensor:
        return torch.tensor(table, dtype=torch.int64, device=device)

    tables = Topology(tensor(low), tensor(middle), tensor(high), tensor(parent), tensor(side))
    return tables, tensor(order)


def category_at(tree: str | TreeLike, order: str | None, logits: Tensor) -> Tensor | None:
    """The category at each position of a fixed tree whose leaves are sorted by the logits, or not.

    Args:
        tree: as for `topology`.
        order: "ascending", "descending", "abs" or None.
        logits: `[*v, C]`.

    Returns:
        int64 `[*v, C]`; `[C]` where nothing is sorted, and None where positions are the categories themselves.
    """
    leaf_at = None if isinstance(tree, str) else topology(tree, logits.shape[-1], logits)[1]
    if order is None:
        return leaf_at
    ranking = order_ops.ascending(sort_keys(logits, order))
    return ranking if leaf_at is None else ranking.index_select(-1, leaf_at)


def sort_keys(logits: Tensor, order: str) -> Tensor:
    """What categories are sorted by, the smallest first."""
    return {"ascending": logits, "descending": -logits, "abs": logits.abs()}[order]


def huffman(probs: Tensor) -> tuple[Topology, Tensor]:
    """Huffman trees, one a variable: the two lightest subtrees are merged until one is left.

    Args:
        probs: `[..., C]`.

    Returns:
        The tables `[..., C-1]` and `[..., 2C-1]`, and the category at each position `[..., C]`.
    """
    categories = probs.shape[-1]
    if categories == 1:
        return topology("balanced", 1, probs)
    # Leaves come sorted, and what is merged is never lighter than what was merged before: two queues, whose first are
    # compared. Behind their ends masses are infinite.
    lightest = order_ops.ascending(probs)
    merged_mass, merged_size = torch.full_like(probs, torch.inf), torch.zeros_like(lightest)
    leaf_mass = F.pad(probs.gather(-1, lightest), (0, 1), value=torch.inf)
    lightest = F.pad(lightest, (0, 1))
    next_leaf = next_merged = torch.zeros_like(lightest[..., :1])
    children, left_sizes = [], []
    for step in range(categories - 1):
        mass, size = probs.new_zeros(()), merged_size.new_zeros(())
        for hand in (-1, 1):
            of_leaf, of_merged = leaf_mass.gather(-1, next_leaf), merged_mass.gather(-1, next_merged)
            is_leaf = ~(of_merged < of_leaf)  # of NaN too
            mass = mass + torch.minimum(of_leaf, of_merged)
            size = size + torch.where(is_leaf, 1, merged_size.gather(-1, next_merged))
            # Inner nodes are numbered from the root down.
            merged_node = 2 * categories - 2 - next_merged
            children.append(torch.where(is_leaf, lightest.gather(-1, next_leaf), merged_node))
            next_leaf, next_merged = (next_leaf + is_leaf).clamp_max(categories), next_merged + ~is_leaf
            if hand == -1:
                left_sizes.append(size)
        merged_mass[..., step : step + 1] = mass
        merged_size[..., step : step + 1] = size
    child = torch.cat(children, -1)
    pick = torch.arange(2 * categories - 2, device=probs.device)
    blank = torch.zeros_like(F.pad(lightest, (0, categories - 2)))
    parent = blank.scatter(-1, child, (categories - 2 - pick // 2).expand(child.shape))
    side = blank.scatter(-1, child, (pick % 2 * 2 - 1).expand(child.shape))
    left_size = torch.cat(left_sizes, -1).flip(-1)

    # A node starts where its parent starts, or, being a right child, behind its left sibling.
    offset = torch.where(side == 1, left_size.gather(-1, parent), 0)
    start = along_ancestors(offset.movedim(-1, 0), parent.movedim(-1, 0), torch.add, categories).movedim(0, -1)
    position = start[..., :categories]
    category_at = position.argsort(-1)
    low = start[..., categories:]

    def lay_out(table: Tensor) -> Tensor:
        """Put a table's leaf entries, so far by category, in the order of their positions."""
        return torch.cat((table[..., :categories].gather(-1, category_at), table[..., categories:]), -1)

    tables = Topology(low, low + left_size, low + merged_size[..., :-1].flip(-1), lay_out(parent), lay_out(side))
    return tables, category_at


def along_ancestors(
    values: Tensor, parent: Tensor, combine: Callable[[Tensor, Tensor], Tensor], categories: int
) -> Tensor:
    """Combine every node's value with those of all its ancestors, by pointer doubling.

    After k rounds an entry holds the combination over the 2^k nodes nearest to it on its path to the root. The
    root must hold the neutral element, for it is combined again and again.

    Args:
        values: `[2C-1, *v]`.
        parent: `[2C-1]` or `[2C-1, *v]`, as in `Topology`.
        combine: associative and elementwise.
        categories: C.

    Returns:
        `[2C-1, *v]`.
    """
    pointer = categories + parent
    for _ in range((categories - 1).bit_length()):  # no tree is deeper than C - 1
        values = combine(values, take(values, pointer))
        pointer = take(pointer, pointer)
    return values


def take(values: Tensor, index: Tensor) -> Tensor:
    """Rows `values[index]`, for an index `[N]` that all variables share or `[N, *v]` of their own."""
    return values.index_select(0, index) if index.ndim == 1 else values.gather(0, index)
