"""Questions in the files that they are published as: MetaQA, FreebaseQA, WikiHop."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.data.records import folder_of, lines
from experiments.errors import UserError

ENTITY = re.compile(r"\[(.+?)\]")
"""In MetaQA's questions."""


class Question(NamedTuple):
    """A question in words."""

    text: str
    answers: tuple[str, ...]
    """Any of them is right."""
    kind: str
    """Of questions that are judged together."""
    entity: str | None = None
    """Whose place in the text is {}; None: it is not marked."""


def meta_qa(root: str | None, hops: int, part: str, wording: str = "vanilla") -> list[Question]:
    """Questions of MetaQA (Zhang, Dai, Kozareva, Smola, Song 2018, arXiv 1709.04071) on the graph of `wiki_movies`.

    Such as "what does [Grégoire Colin] appear in", and answers with | between them. Their kind is that of
    qa_test_qtype.txt and so on, such as "actor_to_movie", where those files are there.

    Args:
        root: the folder with kb.txt, 1-hop/vanilla/qa_train.txt, 1-hop/ntm/qa_train.txt and so on.
        hops: 1, 2 or 3.
        part: train, dev or test.
        wording: vanilla, by template; or ntm, by a machine that translated them to French and back.

    Raises:
        UserError: where a file is missing, or a line of it is broken, or a question has no entity.
    """
    folder = folder_of(root) / f"{hops}-hop"
    path, typed = folder / wording / f"qa_{part}.txt", folder / f"qa_{part}_qtype.txt"
    kinds = [line.strip() for line in lines(typed)] if any(folder.glob(f"{typed.name}*")) else None
    found = []
    for number, line in enumerate(lines(path), start=1):
        text, _, answers = line.rstrip("\r\n").partition("\t")
        entity = ENTITY.search(text)
        if entity is None:
            raise UserError(f"{path}, line {number}, has a question without an entity in brackets; mend it.")
        if not answers:
            raise UserError(f"{path}, line {number}, has no answer; mend it.")
        if kinds is not None and number > len(kinds):
            raise UserError(f"{typed} has {len(kinds)} lines, and {path} has more; restore them.")
        asked = text[: entity.start()] + "{}" + text[entity.end() :]
        kind = f"{hops}-hop" if kinds is None else kinds[number - 1]
        found.append(Question(asked, tuple(answers.split("|")), kind, entity.group(1)))
    return found


def freebase_qa(root: str | None, part: str) -> list[Question]:
    """Questions of FreebaseQA (Jiang, Wu, Jiang 2019, NAACL), by their last relation of Freebase.

    Args:
        root: the folder with FreebaseQA-train.json, FreebaseQA-dev.json and FreebaseQA-eval.json.
        part: train, dev or eval.

    Raises:
        UserError: where the file is missing, or a question lacks something.
    """
    path = folder_of(root) / f"FreebaseQA-{part}.json"
    found = []
    for number, row in _objects(path, "Questions"):
        try:
            names = [name for parse in row["Parses"] for answer in parse["Answers"] for name in answer["AnswersName"]]
            kind = row["Parses"][0]["InferentialChain"].rpartition(".")[2]
            found.append(Question(row["RawQuestion"], tuple(dict.fromkeys(names)), kind))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _lacks(path, number, error) from error
    return found


def wiki_hop(root: str | None, part: str) -> list[Question]:
    """Queries of WikiHop (Welbl, Stenetorp, Riedel 2018, arXiv 1710.06481) without their documents, as SKILL asks them.

    Such as "participant of juan rossell"; their kind is the relation, "participant_of".

    Args:
        root: the folder with train.json and dev.json.
        part: train or dev.

    Raises:
        UserError: where the file is missing, or a query lacks something.
    """
    path = folder_of(root) / f"{part}.json"
    found = []
    for number, row in _objects(path, None):
        try:
            relation, _, subject = row["query"].partition(" ")
            answer = row["answer"].strip()
        except (KeyError, TypeError, AttributeError) as error:
            raise _lacks(path, number, error) from error
        if not subject.strip():
            raise UserError(f"{path}, entry {number}, has a query without an entity; mend it.")
        found.append(Question(f"{relation.replace('_', ' ')} {subject}", (answer,), relation))
    return found


def _objects(path: Path, name: str | None) -> Iterator[tuple[int, Any]]:
    """The objects of a list in a JSON file, or of the list that has the name there, counted from 1."""
    try:
        content = json.loads("".join(lines(path)))
        rows = content if name is None else content[name]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no JSON file of that form ({error}); restore it.") from error
    if not isinstance(rows, list):
        raise UserError(f"{path} has no list of questions; restore it.")
    yield from enumerate(rows, start=1)


def _lacks(path: Path, number: int, error: Exception) -> UserError:
    return UserError(f"{path}, entry {number}, lacks something that a question has ({error}); mend it.")
