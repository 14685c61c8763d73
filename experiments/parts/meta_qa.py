"""MetaQA's questions on its graph, as look-ups see them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from experiments.data.knowledge import ANY, Entity, wiki_movies
from experiments.data.published_questions import Question, meta_qa
from experiments.errors import UserError
from experiments.parts.graph import Sets
from experiments.parts.questions import CACHE, HOPS, Group, Questions, QuestionSet, require_part


def meta_qa_questions(
    root: str | None,
    hops: Sequence[int] = (1, 2, 3),
    part: str = "test",
    questions: int | None = None,
    held_out: int | None = None,
    cache: str = CACHE,
) -> QuestionSet:
    """Questions of MetaQA, which come with their answers and without paths.

    Args:
        root: the folder with its files: see `wiki_movies` and `meta_qa`. Questions of ntm/ are the reworded ones.
        hops: numbers of relations, 1 to 3.
        part: to judge by, test or dev.
        questions: of each number of relations, to train on at most; None: all.
        held_out: likewise, to judge by.
        cache: see `QuestionSet`.

    Raises:
        UserError: where a file is missing or broken, or names what the graph has not.
    """
    hops = require_part(hops, questions, held_out)
    knowledge = wiki_movies(root)
    numbers = knowledge.numbers()

    def columns(part: str, wording: str, most: int | None) -> Questions:
        asked = [(hop, question) for hop in hops for question in _first(meta_qa(root, hop, part, wording), most)]
        return _columns(asked, numbers)

    found = {"held_out": columns(part, "vanilla", held_out), "reworded": columns(part, "ntm", held_out)}
    return QuestionSet("MetaQA", knowledge, columns("train", "vanilla", questions), found, cache)


def _first(questions: list[Question], most: int | None) -> list[Question]:
    """So many in the order of a hash, the same ones on every machine."""
    if most is None:
        return questions
    return sorted(questions, key=lambda q: hashlib.sha256(f"{q.entity}\t{q.text}".encode()).digest())[:most]


def _columns(asked: Sequence[tuple[int, Question]], numbers: dict[Entity, int]) -> Questions:
    asked = sorted(asked, key=lambda pair: (pair[0], pair[1].kind))
    groups = {Group(question.kind, hop): None for hop, question in asked}
    place = {group: number for number, group in enumerate(groups)}
    forms = {text: number for number, text in enumerate(dict.fromkeys(question.text for _, question in asked))}

    def known(name: str, question: Question) -> int:
        found = numbers.get(Entity(ANY, name))
        if found is None:
            raise UserError(f"the graph of MetaQA has no {name!r}, which is in {question.text!r}; restore its files.")
        return found

    starts = [known(question.entity or "", question) for _, question in asked]
    answers = [sorted({known(name, question) for name in question.answers}) for _, question in asked]
    sizes = torch.tensor([len(row) for row in answers])
    return Questions(
        tuple(forms),
        torch.tensor([forms[question.text] for _, question in asked]),
        torch.tensor(starts),
        torch.full((len(asked), HOPS), -1),
        Sets(torch.arange(len(asked)).repeat_interleave(sizes), torch.tensor([n for row in answers for n in row])),
        torch.tensor([place[Group(question.kind, hop)] for hop, question in asked]),
        tuple(groups),
    )
