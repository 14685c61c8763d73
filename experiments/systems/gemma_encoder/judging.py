"""Losses and figures of the tasks, by their kind: classes, scores, rankings."""

from __future__ import annotations

from torch import Tensor

MEASURES = {
    "classes": {"train_loss": "nats", "accuracy": "share of examples", "majority": "share of examples"},
    "scores": {"train_loss": "squared error", "spearman": "correlation of ranks"},
    "ranking": {"train_loss": "nats", "mrr": "mean reciprocal rank", "p_at_1": "share of examples"},
}
"""The first figure behind the loss is what a task is judged by."""


def losses(kind: str, said: Tensor, targets: Tensor) -> Tensor:
    """Of every example: cross-entropy, squared error, or the listwise softmax of RankT5 (arXiv 2210.10634).

    Args:
        kind: of the task.
        said: scores of the classes `[..., B, C]`, or of candidates `[..., B, R]`; or one score `[..., B, 1]`.
        targets: `[B]`.

    Returns:
        `[..., B]`.
    """
    if kind == "scores":
        return (said.squeeze(-1) - targets.to(said.dtype)).square()
    right = targets.long().expand(said.shape[:-1]).unsqueeze(-1)
    return -said.log_softmax(-1).gather(-1, right).squeeze(-1)


def figures(kind: str, said: Tensor, targets: Tensor) -> dict[str, float]:
    """Of held-out examples: accuracy; Spearman's correlation; or mean reciprocal rank and precision at 1.

    Candidates of equal scores are ranked with the right one behind the others.

    Args:
        kind, said, targets: see `losses`.
    """
    if kind == "scores":
        from torchmetrics.functional import spearman_corrcoef

        return {"spearman": float(spearman_corrcoef(said.squeeze(-1).float(), targets.float()))}
    right = targets.long()
    if kind == "classes":
        return {"accuracy": float((said.argmax(-1) == right).double().mean())}
    own = said.gather(-1, right.unsqueeze(-1))
    rank = (said >= own).sum(-1).double()
    return {"mrr": float((1 / rank).mean()), "p_at_1": float((rank == 1).double().mean())}


def majority(train: Tensor, held_out: Tensor) -> float:
    """How often the class is right that is most frequent among training examples."""
    return float((held_out == train.mode().values).double().mean())


def in_words(kind: str, said: Tensor, targets: Tensor, classes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """What is right, and what is said, of each example: names of classes, scores, or places of candidates."""
    if kind == "scores":
        right, found = ([f"{value:.2f}" for value in each.flatten().tolist()] for each in (targets, said))
        return right, found
    names = classes or tuple(str(place + 1) for place in range(said.shape[-1]))
    right, found = ([names[int(place)] for place in each] for each in (targets, said.argmax(-1)))
    return right, found
