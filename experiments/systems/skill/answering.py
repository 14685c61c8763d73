"""Closed-book answers: a question in, its answer out, from what a language model has learned before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from experiments.engine import Settings, Step, World, finite
from experiments.errors import require_count
from experiments.parts.batches import Shuffled
from experiments.parts.language_model import LanguageModel
from experiments.parts.language_task import LanguageTask
from experiments.parts.questions import Questions, QuestionSet
from experiments.parts.shares import macro


class AnsweringTask(LanguageTask):
    """Fine-tune a language model on questions, to answer others: exact match, by the relations that answer them.

    Args:
        data: the questions.
        model, vocabulary, length: see `LanguageTask`.
        answer: tokens of an answer at most.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        data: QuestionSet,
        model: Callable[..., LanguageModel],
        vocabulary: int = 8000,
        length: int = 64,
        answer: int = 16,
    ) -> None:
        require_count("task.answer", answer)
        super().__init__(model, vocabulary, length)
        self.data, self.answer = data, answer

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns, by the number of relations."""
        found = {"train_loss": "nats per token"}
        for part, questions in {**self.data.held_out, "majority": self._judged}.items():
            hops = sorted({group.hops for group in questions.groups})
            found |= {f"{part}_{hop}": "share of questions, mean over paths" for hop in hops}
        return found

    @property
    def title(self) -> str:
        """Data."""
        return f"Closed-book answers on {self.data.name}"

    @property
    def _judged(self) -> Questions:
        return next(iter(self.data.held_out.values()))

    def begin(self, settings: Settings, world: World) -> None:
        """Also trains the tokenizer, if the cache has none for these texts."""
        self.world, knowledge = world, self.data.knowledge
        self.order = Shuffled(len(self.data.train), settings.batch, settings.seed, world)
        parts = [self.data.train, *self.data.held_out.values()]
        names = [entity.name for entity in knowledge.entities]
        columns = [*(part.texts(knowledge) for part in parts), names]
        self.read(columns, (*columns[0], *names), self.data.cache, settings.progress, world)
        self.train_questions = self.data.train.to(world.device)
        self.answers = [part.named_answers(knowledge) for part in self.data.held_out.values()]

    def batch(self, step: int) -> Tensor:
        """Numbers of training questions, `[B]`."""
        return self.order(step)

    def forward(self, batch: Tensor, generator: torch.Generator) -> Step:
        """Of each question, one of its answers by chance, token by token."""
        answers = self.train_questions.take(batch).answers
        sizes = answers.sizes(len(batch))
        drawn = torch.rand(len(batch), generator=generator, device=sizes.device)
        rows = sizes.cumsum(0) - sizes + (drawn * sizes).long().clamp(max=sizes - 1)
        said = self.reader.columns[-1].take(answers.entities[rows])
        total, count = self.nats(self.reader.columns[0].take(batch), said), said.lengths.sum()
        finite({"nats": total})
        return Step(total / count, {"train_loss": total.detach() / count})

    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Exact match on held-out questions, beside the answer that most training questions of a path have."""
        measured: dict[str, float] = {}
        for number, (part, questions) in enumerate(self.data.held_out.items()):
            measured |= _by_hops(part, questions, self.shares(number, most))
        return measured | _by_hops("majority", self._judged, self._majority())

    def shares(self, number: int, most: int | None) -> list[float]:
        """Exact match by group of the part of that number; at most so many questions in all."""
        questions = [*self.data.held_out.values()][number].to(self.world.device)
        own = questions.some(most)
        own = own[self.world.share(len(own))]
        answers = [self.answers[number][row] for row in own.tolist()]
        right = self.right(self.reader.columns[number + 1].take(own), answers, self.answer)
        return macro(right, questions.group[own], len(questions.groups), self.world)

    def _majority(self) -> list[float]:
        """By group, of the answer that most training questions have."""
        known = self.data.train.named_answers(self.data.knowledge)
        counts: dict[str, Counter[str]] = {}
        for row, group in enumerate(self.data.train.group.tolist()):
            counts.setdefault(self.data.train.groups[group].name, Counter()).update(known[row])
        best = {name: count.most_common(1)[0][0] for name, count in counts.items()}
        judged = self._judged
        named = [judged.groups[group].name for group in judged.group.tolist()]
        right = [best.get(name) in answers for name, answers in zip(named, self.answers[0], strict=True)]
        device = torch.device("cpu")
        return macro(torch.tensor(right), judged.group, len(judged.groups), World(device=device))

    def pictures(self, folder: Path) -> list[Path]:
        """Exact match by path, and by how questions are worded."""
        from experiments.systems.skill.pictures import draw_shares  # takes matplotlib with it

        parts = {part: self.shares(number, None) for number, part in enumerate(self.data.held_out)}
        return draw_shares(folder / "answers.png", self.data.held_out, parts, "exact match", self.title)


def _by_hops(part: str, questions: Questions, shares: list[float]) -> dict[str, float]:
    found: dict[int, list[float]] = {}
    for group, share in zip(questions.groups, shares, strict=True):
        found.setdefault(group.hops, []).append(share)
    return {f"{part}_{hops}": sum(own) / len(own) for hops, own in sorted(found.items())}
