"""SKILL's pre-training: plain text and facts, half and half."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from experiments.data.entity_facts import MASK
from experiments.data.sentences import Cloze, clozes
from experiments.data.wordnet import wordnet
from experiments.engine import Settings, Step, World, finite
from experiments.errors import UserError, require_count
from experiments.parts.batches import Shuffled
from experiments.parts.language_model import LanguageModel
from experiments.parts.language_task import LanguageTask
from experiments.parts.questions import QuestionSet
from experiments.parts.retrieval import spread
from experiments.parts.shares import macro
from experiments.parts.spans import Spans

ARMS = ("text", "triples", "sentences")
JUDGED = 1000
"""Texts that nothing trains on; and facts, at most, by which a model is judged."""


class Mixed(NamedTuple):
    """Numbers of texts and of facts."""

    texts: Tensor
    facts: Tensor


class PretrainingTask(LanguageTask):
    """Train a language model on text, or on text and facts, half and half: SKILL's salient span masking.

    Of a fact, its subject or its object is left out, whole, and never its relation. The text is WordNet's definitions
    of nouns, under T5's span corruption.

    Args:
        data: whose graph has the facts; its questions are not looked at.
        arm: text: no facts; triples: facts as triples; sentences: the same facts in sentences.
        texts: to train on, at most; None: all 81,115.
        model, vocabulary, length: see `LanguageTask`.
        answer: tokens of what is said at most, where facts are judged.

    Raises:
        UserError: where the parts do not fit together.
    """

    measures: ClassVar = {
        "train_loss": "nats per token",
        "held_out_loss": "nats per token of text",
        "known": "share of facts, mean over relations",
    }

    def __init__(
        self,
        data: QuestionSet,
        model: Callable[..., LanguageModel],
        arm: str = "triples",
        texts: int | None = None,
        vocabulary: int = 8000,
        length: int = 32,
        answer: int = 16,
    ) -> None:
        if arm not in ARMS:
            raise UserError(f"task.arm is one of {', '.join(ARMS)}, not {arm!r}.")
        require_count("task.answer", answer)
        if texts is not None:
            require_count("task.texts", texts)
        super().__init__(model, vocabulary, length)
        self.data, self.arm, self.texts, self.answer = data, arm, texts, answer

    @property
    def title(self) -> str:
        """Arm and data."""
        return f"A language model on {'text' if self.arm == 'text' else f'text and {self.arm}'}, {self.data.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """Also trains the tokenizer, if the cache has none for these texts."""
        self.world = world
        nouns = wordnet()
        order = nouns.shuffled()[: None if self.texts is None else JUDGED + self.texts]
        texts = [f"{', '.join(nouns.synsets[n].lemmas)}: {nouns.synsets[n].gloss}" for n in order]
        without = clozes(self.data.knowledge, "sentences" if self.arm == "sentences" else "triples", MASK)
        self.facts: tuple[Cloze, ...] = (*without[0], *without[1])
        names = [entity.name for entity in self.data.knowledge.entities]
        place = {name: number for number, name in enumerate(dict.fromkeys(names))}
        columns = [texts[JUDGED:], texts[:JUDGED], [fact.text for fact in self.facts], [f"{MASK} {n}" for n in place]]
        self.read(columns, (*texts, *names), self.data.cache, settings.progress, world)
        self.left_out = torch.tensor([place[fact.left_out] for fact in self.facts], device=world.device)
        self.spans = Spans(self.reader.own, self.model.padding)
        mixed = self.arm != "text"
        self.order = Shuffled(len(columns[0]), settings.batch - settings.batch // 2 * mixed, settings.seed, world)
        if mixed:
            self.order_of_facts = Shuffled(len(self.facts), settings.batch // 2, settings.seed, world)

    def batch(self, step: int) -> Mixed:
        """Texts, and as many facts, `B` together; of the arm that has no facts, texts alone."""
        texts = self.order(step)
        return Mixed(texts, texts[:0] if self.arm == "text" else self.order_of_facts(step))

    def forward(self, batch: Mixed, generator: torch.Generator) -> Step:
        """The mean over all that was left out, token by token."""
        corrupted = self.spans(self.reader.columns[0].take(batch.texts), generator)
        total, count = self.nats(*corrupted), corrupted.answers.lengths.sum()
        if len(batch.facts):
            answers = self.reader.columns[3].take(self.left_out[batch.facts])
            total = total + self.nats(self.reader.columns[2].take(batch.facts), answers)
            count = count + answers.lengths.sum()
        finite({"nats": total})
        return Step(total / count, {"train_loss": total.detach() / count})

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Of texts that were not trained on; and of facts, which were, how many the model completes."""
        loss = self.held_out_loss(self.reader.columns[1], self.spans, most)
        return {"held_out_loss": loss, "known": self._known(most)}

    def _known(self, most: int | None) -> float:
        """Facts without their object, the mean over relations; any object of the subject's is right."""
        half = len(self.facts) // 2
        objects: dict[str, list[str]] = {}
        for fact in self.facts[half:]:
            objects.setdefault(fact.text, []).append(fact.left_out)
        relations = {name: number for number, name in enumerate(self.data.knowledge.relations)}
        groups = torch.tensor([relations[fact.relation] for fact in self.facts[half:]], device=self.world.device)
        by_relation = groups.sort(stable=True).indices
        rows = by_relation[spread(half, min(most or JUDGED, JUDGED), self.world.device)]
        rows = torch.cat([rows, by_relation[torch.searchsorted(groups[by_relation], groups.unique())]]).unique()
        own = rows[self.world.share(len(rows))]
        answers = [objects[self.facts[half + row].text] for row in own.tolist()]
        right = self.right(self.reader.columns[2].take(half + own), answers, self.answer)
        shares = macro(right, groups[own], len(relations), self.world)
        return sum(shares) / len(shares)

    def pictures(self, folder: Path) -> list[Path]:
        """None besides the learning curve: see `AnsweringTask`."""
        return []
