"""What only codes can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from experiments.curves import put
from experiments.parts.codes import Codes
from experiments.parts.retrieval import places

if TYPE_CHECKING:
    from experiments.systems.codes.task import CodesTask


@torch.no_grad()
def draw(folder: Path, task: CodesTask) -> list[Path]:
    """At which places queries find their document, and how often codewords are in use, before and after; the path."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    start, trained = task.start[0], task.model.codes
    searches = {
        "embeddings": (task.queries, task.documents),
        "codes, trained": _served(task, trained),
        "codes, at the start": _served(task, start),
    }
    rows = torch.arange(len(task.queries), device=task.queries.device)
    for label, (queries, documents) in searches.items():
        found = places(queries, documents, lambda part: task.judged.relevant(rows[part]), slice(0, len(rows)))
        found = found.sort().values.cpu()
        left.plot(found, torch.arange(1, len(found) + 1) / len(found), label=label)
    count = len(task.documents)
    left.set(xscale="log", xlim=(1, count), ylim=(0, 1), xlabel=f"first k of {count} documents")
    left.set_ylabel("share of queries that find their document among them")
    left.grid(alpha=0.3)
    left.legend(loc="lower right")
    _usage(right, {"trained": trained, "at the start": start}, task)
    figure.suptitle(task.title, fontsize=11)
    return [put(folder / "codes.png", figure)]


def _served(task: CodesTask, codes: Codes) -> tuple[Tensor, Tensor]:
    ids = codes.encode(task.documents, task.beam)
    return codes.project(task.queries), F.normalize(codes.decode(ids), dim=-1)


def _usage(axis: Axes, found: dict[str, Codes], task: CodesTask) -> None:
    """Of each variable its codewords in the order of their frequency; one line each."""
    for (label, codes), colour in zip(found.items(), ("tab:orange", "tab:green"), strict=True):
        ids = codes.encode(task.documents, task.beam)
        for variable, column in enumerate(ids.T):
            counts = column.bincount(minlength=codes.categories).sort(descending=True).values.cpu()
            places = torch.arange(1, codes.categories + 1)
            axis.plot(places, counts / len(ids), color=colour, alpha=0.6, label=None if variable else label)
    axis.axhline(1 / codes.categories, color="0.6", linestyle=":", label="all alike")
    axis.set(xlabel="codewords of a variable, most frequent first", ylabel="share of documents", ylim=(0, None))
    axis.legend()
