"""What embeddings of several tasks are judged by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from experiments.engine import World
from experiments.parts.retrieval import Judged, first_answers, spread
from experiments.parts.text import Tokens
from experiments.parts.towers import embed

Seen = Callable[[Tensor, Tensor], Iterable[tuple[str, Tensor, Tensor]]]
"""From embeddings of both kinds, what is judged: the name of a figure, empty for the whole, and vectors."""


class Judging(NamedTuple):
    """Held-out texts of one task, each once."""

    queries: Tokens
    documents: Tokens
    judged: Judged


def judge(
    tower: nn.Module, tasks: Mapping[str, Judging], seen: Seen, most: int | None, world: World
) -> dict[str, float]:
    """What held-out queries find among all held-out documents of their task.

    Args:
        tower: makes the embeddings.
        tasks: by name.
        seen: what is judged of embeddings.
        most: how many queries of a task; None: all.
        world: the processes.

    Returns:
        mrr_TASK and p_at_1_TASK of the whole; and the means over tasks, mrr, p_at_1, and the mean reciprocal rank of
        whatever else is seen.
    """
    found: dict[str, float] = {}
    means: dict[str, list[float]] = defaultdict(list)
    for name, task in tasks.items():
        asked = spread(len(task.queries.ids), most, world.device)
        vectors = embed(tower, task.queries.take(asked), world), embed(tower, task.documents, world)
        for view, queries, documents in seen(*vectors):
            relevant = lambda part, t=task, a=asked: t.judged.relevant(a[part])  # noqa: E731
            own = first_answers(queries, documents, relevant, world, most=1)
            if view:
                means[view].append(own["mrr"])
            else:
                found |= {f"mrr_{name}": own["mrr"], f"p_at_1_{name}": own["recall"]}
                means["mrr"].append(own["mrr"])
                means["p_at_1"].append(own["recall"])
    return {view: sum(values) / len(values) for view, values in means.items()} | found


def prefix(vectors: Tensor, size: int) -> Tensor:
    """The first numbers of vectors `[..., D]`, at length 1 again."""
    return vectors if size == vectors.shape[-1] else F.normalize(vectors[..., :size], dim=-1)
