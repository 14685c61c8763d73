"""What only a dual encoder can show."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from experiments.curves import put
from experiments.engine import World
from experiments.parts.retrieval import Judged, orders
from experiments.parts.text import Tokens
from experiments.parts.towers import embed
from experiments.systems.dual_encoder.alignment import alignment, similarity_ratios

SHOWN = 400
"""Pairs in the map: as many as in the paper's."""
RANKED = 3000
"""Queries whose documents' places are drawn, at most."""
SPAN = (-0.5, 1.5)
"""Of the ratios that are drawn; those beyond are drawn at its ends."""


def draw(
    folder: Path, towers: tuple[nn.Module, nn.Module], queries: Tokens, documents: Tokens, judged: Judged, title: str
) -> list[Path]:
    """A map of both towers' embeddings, the places at which queries find documents, how alike both are; the path."""
    asked, found = (
        embed(tower, tokens, World(device=tokens.ids.device))
        for tower, tokens in zip(towers, (queries, documents), strict=True)
    )
    figure = Figure(figsize=(18, 6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    first = judged.pairs[:RANKED].to(asked.device)
    pairs = asked[first[:, 0]], found[first[:, 1]]
    draw_map(left, *(column[:SHOWN] for column in pairs))
    left.set_title(f"t-SNE of {min(SHOWN, len(first))} held-out pairs; a line joins each")
    left.legend(loc="best")
    _places(middle, asked, found, judged)
    _ratios(right, *pairs)
    figure.suptitle(title, fontsize=11)
    return [put(folder / "embeddings.png", figure)]


def draw_map(axis: Axes, asked: Tensor, found: Tensor) -> None:
    """Queries `[N, D]` and their documents in the plane, by t-SNE of both together, with a line between them."""
    from sklearn.manifold import TSNE

    both = torch.cat((asked, found)).cpu().numpy()
    places = TSNE(perplexity=min(30, (len(both) - 1) / 3), init="pca", random_state=0).fit_transform(both)
    ours, theirs = places[: len(asked)], places[len(asked) :]
    for start, end in zip(ours, theirs, strict=True):
        axis.plot(*zip(start, end, strict=True), color="0.8", linewidth=0.5, zorder=1)
    axis.scatter(ours[:, 0], ours[:, 1], s=9, color="tab:blue", label="queries (definitions)", zorder=2)
    axis.scatter(theirs[:, 0], theirs[:, 1], s=9, marker="^", color="tab:orange", label="documents (words)", zorder=2)
    axis.set(xticks=[], yticks=[])


def _places(axis: Axes, asked: Tensor, found: Tensor, judged: Judged) -> None:
    asked, count = asked[:RANKED], len(found)
    queries = torch.arange(len(asked), device=asked.device)
    graded = orders(asked, found, lambda part: judged.relevant(queries[part]), slice(0, len(asked)))
    ranks = torch.stack([(grades > 0).int().argmax() + 1 for grades in graded]).sort().values.cpu()
    axis.plot(ranks, torch.arange(1, len(ranks) + 1) / len(ranks), label="trained")
    places = torch.arange(1, count + 1)
    axis.plot(places, places / count, color="0.6", linestyle=":", label="chance")
    axis.set(xscale="log", xlim=(1, count), ylim=(0, 1), xlabel=f"first k of {count} documents")
    axis.set_ylabel("share of queries that find their document among them")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left")


def _ratios(axis: Axes, asked: Tensor, found: Tensor) -> None:
    ratios, apart = similarity_ratios(asked, found).cpu(), alignment(asked, found)
    axis.hist(ratios.clamp(*SPAN), bins=60, range=SPAN)
    axis.axvline(1, color="0.3", linestyle=":")
    label = "cos(query, query of j) / cos(query, j), of the nearest wrong document j"
    axis.set(xlim=SPAN, xlabel=label, ylabel="queries")
    said = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in apart.items())
    axis.set_title(f"median ratio {float(ratios.median()):.2f}; {said}", fontsize=10)
