"""What only a memory of prompts can show."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.curves import put
from experiments.parts.retrieval import spread
from experiments.systems.knowledge_prompts.candidates import SENSES

if TYPE_CHECKING:
    from experiments.systems.knowledge_prompts.linking import LinkingTask
    from experiments.systems.knowledge_prompts.task import PromptsTask

SHOWN = 1500
"""Entities in the map, and facts that are asked, at most."""
CLASSES = 8
"""That are told apart in the map: those of most entities."""
LABELS = {"em": "its prompts", "em_other": "another's", "em_without": "none", "em_majority": "most frequent answer"}


@torch.no_grad()
def draw(folder: Path, task: PromptsTask) -> list[Path]:
    """A map of the prompts, and how many facts are answered with which; the path."""
    figure = Figure(figsize=(15, 7), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    draw_map(left, task)
    found = task.evaluate(SHOWN)
    for place, (start, label) in enumerate((("", "learned facts"), ("held_out_", "facts of other relations"))):
        own = [(name, found[start + name]) for name in LABELS if start + name in found]
        where = [place * (len(LABELS) + 1) + number for number in range(len(own))]
        right.bar(where, [value for _, value in own], label=label)
        for x, (name, value) in zip(where, own, strict=True):
            right.text(x, value, f" {LABELS[name]}", rotation=90, ha="center", va="bottom", fontsize=9)
    right.set(xticks=[], ylim=(0, 1.25), ylabel="share of facts answered exactly")
    right.legend(loc="upper right")
    figure.suptitle(task.title, fontsize=11)
    return [put(folder / "prompts.png", figure)]


@torch.no_grad()
def draw_map(axis: Axes, task: PromptsTask) -> None:
    """The entities' prompts in the plane, by t-SNE of cosines, in the colours of their classes."""
    from sklearn.manifold import TSNE

    entities = task.facts.entities
    shown = spread(len(entities), SHOWN, task.world.device)
    prompts = task.memory(task.rows(shown)).flatten(1)
    prompts = torch.nn.functional.normalize(prompts - prompts.mean(0), dim=-1).cpu().double().numpy()
    perplexity = min(30, (len(shown) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="random", random_state=0).fit_transform(prompts)
    kinds = [entities[number].kind for number in shown.tolist()]
    common = [kind for kind, _ in Counter(kinds).most_common(CLASSES)]
    for kind in (None, *common):
        own = [
            place for place, found in zip(places, kinds, strict=True) if (found if found in common else None) == kind
        ]
        if own:
            across, up = zip(*own, strict=True)
            axis.scatter(across, up, s=8, color="0.85" if kind is None else None, label=kind or "others")
    axis.set(xticks=[], yticks=[])
    axis.set_title(f"t-SNE of the prompts of {len(shown)} entities, by class")
    axis.legend(loc="best", fontsize=8)


@torch.no_grad()
def draw_linking(folder: Path, task: LinkingTask) -> list[Path]:
    """How often the right entity is chosen, by how many have the name; the path."""
    found = task.evaluate(SHOWN)
    groups = [name for name in SENSES if f"accuracy_{name}" in found]
    senses = task.choices.senses[task.choices.judged].double()
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.bar(range(len(groups)), [found[f"accuracy_{name}"] for name in groups], label="chosen by the context")
    chances = []
    for name in groups:
        least, most = SENSES[name]
        chances.append(float((1 / senses[(senses >= least) & (senses <= most)]).mean()))
    axis.plot(range(len(groups)), chances, "o--", color="0.3", label="chance, among those of the name")
    axis.set_xticks(range(len(groups)), [name.replace("_more", " or more").replace("_", " to ") for name in groups])
    axis.set(xlabel="entities of the name", ylabel="share of names with the right entity", ylim=(0, 1))
    axis.legend()
    figure.suptitle(task.title, fontsize=10)
    return [put(folder / "linking.png", figure)]
