"""Facts as questions to a language model, and how many it answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.entity_facts import MASK, EntityFact, EntityFacts, asked
from experiments.engine import World
from experiments.parts.answers import exact_match, normalised
from experiments.parts.language_model import CHUNK, LanguageModel, said
from experiments.parts.reader import Reader
from experiments.parts.text import Tokens

Lookup = Callable[[Tensor], Tensor]
"""From numbers of facts `[N]` to prompts `[N, P, D]`."""


class Example(NamedTuple):
    """A batch of facts, each with one of its objects."""

    facts: Tensor
    """int64 `[B]`, among the learned ones."""
    entities: Tensor
    """int64 `[B]`."""
    questions: Tokens
    answers: Tokens

    def repeated(self, count: int) -> Example:
        """All of it `count` times, one copy after the other."""
        return self if count == 1 else self.take(torch.arange(len(self.facts)).repeat(count))

    def take(self, rows: Tensor) -> Example:
        """Some of the examples."""
        rows = rows.to(self.facts.device)
        return Example(self.facts[rows], self.entities[rows], self.questions.take(rows), self.answers.take(rows))


def question(facts: EntityFacts, fact: EntityFact) -> str:
    """Of an entity by its name."""
    return asked(facts.entities[fact.entity].name, fact.relation)


def answer(name: str) -> str:
    """What is to be said."""
    return f"{MASK} {name}"


class Asked:
    """Facts as tokens.

    Args:
        facts: what is asked.
        numbers: of the facts' entities, `[F]`.
        questions: as tokens.
        model, reader: what answers.
        length: of answers, in tokens, at most.
        world: the processes.
    """

    def __init__(
        self,
        facts: Sequence[EntityFact],
        questions: Tokens,
        model: LanguageModel,
        reader: Reader,
        length: int,
        world: World,
    ) -> None:
        self.facts, self.questions, self.model, self.reader = facts, questions, model, reader
        self.length, self.world = length, world
        self.entities = torch.tensor([fact.entity for fact in facts], dtype=torch.int64, device=world.device)

    @torch.no_grad()
    def matches(self, chosen: Tensor, prompts: Lookup | None) -> Tensor:
        """Whether each of the chosen facts is answered rightly, bool `[n]`, the same in all processes.

        Args:
            chosen: int64 `[n]`.
            prompts: that the model reads before the question; None: none.
        """
        share = self.world.share(len(chosen))
        own: list[bool] = []
        for start in range(share.start, share.stop, CHUNK):
            part = chosen[start : min(start + CHUNK, share.stop)]
            read = None if prompts is None else prompts(part)
            answers = said(self.reader, self.model, self.questions.take(part), self.length, read)
            own += exact_match(answers, [self.facts[number].right for number in part.tolist()])
        found = [match for each in self.world.every(own) for match in each]
        return torch.tensor(found, dtype=torch.bool)

    def macro(self, chosen: Tensor, matches: Tensor) -> float:
        """The mean over relations of the share that matches."""
        by_relation = defaultdict(list)
        for number, match in zip(chosen.tolist(), matches.tolist(), strict=True):
            by_relation[self.facts[number].relation].append(match)
        return sum(sum(each) / len(each) for each in by_relation.values()) / max(len(by_relation), 1)


def majority(facts: Sequence[EntityFact], learned: Sequence[EntityFact]) -> float:
    """The share of facts that the most frequent answer of their relation answers, among those that were learned."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for fact in learned:
        counts[fact.relation].update({normalised(name) for name in fact.right})
    best = {relation: [found.most_common(1)[0][0]] for relation, found in counts.items()}
    right = [best.get(fact.relation, [""])[0] in {normalised(name) for name in fact.right} for fact in facts]
    return sum(right) / max(len(right), 1)
