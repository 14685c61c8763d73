"""A language model as a task: texts whose parts are left out in, those parts out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.entity_facts import MASK, EntityFacts
from experiments.engine import Settings, Step, World, finite
from experiments.errors import UserError, require_number
from experiments.parts.batches import Shuffled
from experiments.parts.language_model import LanguageModel, read_columns, said
from experiments.parts.language_task import LanguageTask
from experiments.parts.retrieval import spread
from experiments.parts.shares import macro
from experiments.parts.spans import Corrupted, Spans
from experiments.parts.text import END, PADDING, Tokens

SHOWN = 16
"""Texts in the picture."""
JUDGED = 400
"""Facts that nothing trains on, at most; and a tenth of all, at most."""
ANSWER = 12
"""Tokens of an answer, at most."""


class Batch(NamedTuple):
    """Of a step."""

    texts: Tokens
    statements: Corrupted | None


class LanguageModelTask(LanguageTask):
    """Train a language model by span corruption, as T5, and by facts about others than it is asked for later.

    Args:
        facts: whose corpus is trained on; of the facts themselves nothing but the words, for the tokenizer.
        model: makes it from `vocabulary`.
        vocabulary: tokens at most of the tokenizer that is trained; pretrained weights have their own.
        length: in tokens, to which longer texts are cut off.
        statements: the share of a batch that are facts about other entities, each with its object left out: how one
            answers, and nothing of what there is to know; 0: texts alone.
        density, span: the share of tokens that is left out, and the mean length of what is left out: see `Spans`.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        facts: EntityFacts,
        model: Callable[..., LanguageModel],
        vocabulary: int = 8000,
        length: int = 32,
        statements: float = 0.5,
        density: float = 0.15,
        span: float = 3.0,
    ) -> None:
        require_number("task.statements", statements, least=0, below=1)
        super().__init__(model, vocabulary, length)
        self.facts, self.statements, self.density, self.span = facts, statements, density, span
        stated = facts.corpus.statements
        last = stated[len(stated) - min(JUDGED, len(stated) // 10) :] if statements else ()
        by_form = [[pair for pair in last if _told(pair) == told] for told in (False, True)]
        self.judged = [*by_form[0], *by_form[1]] if all(by_form) else []
        """Facts that nothing trains on, those that are told before they are asked behind the others."""

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns; those of facts about others only where there are enough of them."""
        found = {"train_loss": "nats per token", "held_out_loss": "nats per token of texts"}
        return found | (dict.fromkeys(("answered", "answered_told"), "share of facts") if self.judged else {})

    @property
    def title(self) -> str:
        """Model and data."""
        return f"A language model on texts without facts of {self.facts.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """Also trains the tokenizer, if the cache has none for these texts."""
        self.world, corpus = world, self.facts.corpus
        stated = round(self.statements * settings.batch) if corpus.statements else 0
        if stated == settings.batch:
            raise UserError(
                f"run.batch={settings.batch} leaves no text beside the facts; give more, or less statements."
            )
        self.order = Shuffled(len(corpus.train), settings.batch - stated, settings.seed, world)
        self.judged = self.judged if stated else []
        trained = corpus.statements[: len(corpus.statements) - len(self.judged)]
        self.order_of_statements = Shuffled(len(trained), stated, settings.seed, world) if stated else None
        columns = [corpus.train, corpus.judged]
        columns += [[pair[part] for pair in trained] for part in range(2)] if stated else []
        columns += [[text for text, _ in self.judged]] if self.judged else []
        read_columns(self.reader, self.model, corpus, columns, settings.progress, world)
        self.spans = Spans(self.reader.own, self.model.padding, self.density, self.span)

    def batch(self, step: int) -> Batch:
        """Texts, and facts."""
        texts, _, *stated = self.reader.columns[:4]
        if self.order_of_statements is None:
            return Batch(texts.take(self.order(step)), None)
        rows = self.order_of_statements(step)
        return Batch(texts.take(self.order(step)), Corrupted(*(column.take(rows) for column in stated)))

    def forward(self, batch: Batch, generator: torch.Generator) -> Step:
        """The mean over the tokens that were left out."""
        corrupted = self.spans(batch.texts, generator)
        total, count = self.nats(*corrupted), corrupted.answers.lengths.sum()
        if batch.statements is not None:
            total = total + self.nats(*batch.statements)
            count = count + batch.statements.answers.lengths.sum()
        finite({"nats": total})
        return Step(total / count, {"train_loss": total.detach() / count})

    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Of texts that were not trained on, always with the same parts left out; and of facts about others."""
        found = {"held_out_loss": self.held_out_loss(self.reader.columns[1], self.spans, most)}
        return found | (self._answered(most) if self.judged else {})

    def _answered(self, most: int | None) -> dict[str, float]:
        """The share of facts that is completed: of those that are asked alone, and of those that are told before."""
        device = self.world.device
        rows = spread(len(self.judged), None if most is None else max(most, 2), device)
        own = rows[self.world.share(len(rows))]
        answers = [[self.judged[row][1].removeprefix(MASK).strip()] for row in own.tolist()]
        right = self.right(self.reader.columns[4].take(own), answers, ANSWER)
        told = torch.tensor([int(_told(self.judged[row])) for row in own.tolist()], dtype=torch.int64, device=device)
        return dict(zip(("answered", "answered_told"), macro(right, told, 2, self.world), strict=True))

    def pictures(self, folder: Path) -> list[Path]:
        """What is said in the place of the parts that are left out, beside them."""
        from experiments.parts.text_pictures import draw_table  # takes matplotlib with it

        chosen = spread(len(self.reader.columns[1].ids), SHOWN, self.world.device)
        seeded = torch.Generator(self.world.device).manual_seed(0)
        corrupted = self.spans(self.reader.columns[1].take(chosen), seeded)
        answers = said(self.reader, self.model, corrupted.texts, corrupted.answers.ids.shape[1])
        decode = self.reader.own.decode_batch
        texts = decode(corrupted.texts.ids.tolist(), skip_special_tokens=False)
        marks = (PADDING, "<pad>", END)
        texts = [functools.reduce(lambda own, mark: own.replace(mark, ""), marks, text) for text in texts]
        rows = [*zip(texts, decode(corrupted.answers.ids.tolist()), answers, strict=True)]
        labels = {"text": 0.6, "left out": 0.2, "said": 0.2}
        return [draw_table(folder / "completions.png", rows, labels, self.title)]

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        super().set_extra_state(state)
        self.spans = Spans(self.reader.own, self.model.padding, self.density, self.span)


def _told(statement: tuple[str, str]) -> bool:
    """Whether a fact is told before it is asked."""
    text, answer = statement
    return f", {answer.removeprefix(MASK).strip()}; " in text
