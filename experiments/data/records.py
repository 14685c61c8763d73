"""Collections of texts and judgements in files of lines, and the pairs that they make."""

from __future__ import annotations

import gzip
import hashlib
import heapq
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.data.pairs import Pair, Pairs
from experiments.errors import UserError, require_count


class Judgement(NamedTuple):
    """Of a document, for a query."""

    query: str
    document: str
    """Their ids."""
    grade: int
    """0: it does not answer it."""


class Judged(NamedTuple):
    """Queries and what was said about documents for them."""

    queries: dict[str, str]
    """Texts by ids."""
    judgements: Sequence[Judgement]


class Sizes(NamedTuple):
    """How much of a data set is taken; None: all. The smaller of two parts is within the larger."""

    pairs: int | None
    """To train on."""
    held_out: int | None
    """Queries to judge by."""
    others: int | None
    """Documents to search that answer none of those."""

    def check(self) -> None:
        """Refuse what is no count."""
        for name, least in (("pairs", 1), ("held_out", 1), ("others", 0)):
            if getattr(self, name) is not None:
                require_count(f"data.{name}", getattr(self, name), least)


def paired(
    name: str, train: Judged, judges: Judged, documents: Iterable[Sequence[str]], sizes: Sizes, cache: str
) -> Pairs:
    """Pairs of judgements whose grade is above 0.

    Args:
        name: of the data set.
        train, judges: to train on, and to judge by.
        documents: their ids and texts; gone through once, and what is not needed is not kept.
        sizes: of what is taken.
        cache: see `Pairs`.

    Raises:
        UserError: where a query or a document is missing, or has no text.
    """
    sizes.check()
    good = [judgement for judgement in train.judgements if judgement.grade > 0]
    learned = [judgement for _, judgement in first(sizes.pairs, ((f"{j.query}\t{j.document}", j) for j in good))]
    judged = [judgement for judgement in judges.judgements if judgement.grade > 0]
    asked = {query for query, _ in first(sizes.held_out, ((j.query, None) for j in judged))}
    judged = [judgement for judgement in judged if judgement.query in asked]
    answers, wanted = {j.document for j in judged}, {j.document for j in (*judged, *learned)}
    texts: dict[str, str] = {}

    def other() -> Iterator[tuple[str, str]]:
        for document, text in documents:
            if document in wanted:
                texts[document] = text
            if document not in answers and text.strip():
                yield document, text

    others = tuple(text for _, text in first(sizes.others, other()))
    held_out = [_pair(judgement, judges, texts) for judgement in judged]
    return Pairs(name, [_pair(judgement, train, texts) for judgement in learned], held_out, cache, others)


def first(count: int | None, found: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """So many with different ids, in the order of the ids' hashes: the same ones on every machine; None: all."""

    def place(item: tuple[str, Any]) -> bytes:
        return hashlib.sha256(item[0].encode()).digest()

    unique = _unique(found)
    return sorted(unique, key=place) if count is None else heapq.nsmallest(count, unique, key=place)


def folder_of(root: str | None) -> Path:
    """The folder with a data set's files.

    Raises:
        UserError: where there is none.
    """
    folder = Path(root or "").expanduser()
    if root is None or not folder.is_dir():
        raise UserError(f"data.root={root} is no folder; name the one with the data set's files.")
    return folder


def table(path: Path, columns: int) -> Iterator[list[str]]:
    """The rows of a file of values with tabs between them.

    Raises:
        UserError: where it cannot be read, or a row has another number of columns.
    """
    for number, line in enumerate(lines(path), start=1):
        row = line.rstrip("\r\n").split("\t")
        if len(row) != columns:
            raise UserError(f"{path}, line {number}, has {len(row)} columns where {columns} are needed; restore it.")
        yield row


def records(path: Path, *names: str) -> Iterator[dict[str, Any]]:
    """The objects of a file with one in JSON a line.

    Raises:
        UserError: where it cannot be read, or an object lacks one of the names.
    """
    for number, line in enumerate(lines(path), start=1):
        try:
            row = json.loads(line)
            missing = [name for name in names if name not in row]
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}, line {number}, is no JSON object ({error}); restore it.") from error
        if missing:
            raise UserError(f"{path}, line {number}, has no {missing[0]}; restore it.")
        yield row


def lines(path: Path) -> Iterator[str]:
    """The lines of a file of text, packed with gzip or not, with their ends.

    Raises:
        UserError: where it cannot be read.
    """
    packed = path if path.suffix == ".gz" or path.exists() else path.with_name(path.name + ".gz")
    try:
        opened = gzip.open if packed.suffix == ".gz" else open
        with opened(packed, "rt", encoding="utf-8", newline="\n") as file:
            yield from file
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is missing, damaged or cut off ({error}); restore it.") from error


def grade(path: Path, text: str) -> int:
    """A grade as it is written.

    Raises:
        UserError: where it is no whole number.
    """
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{path} has a grade that is no whole number, {text!r}; restore it.") from error


def _pair(judgement: Judgement, judged: Judged, texts: dict[str, str]) -> Pair:
    query, document = judged.queries.get(judgement.query, ""), texts.get(judgement.document, "")
    for kind, name, text in (("query", judgement.query, query), ("document", judgement.document, document)):
        if not text.strip():
            raise UserError(f"{kind} {name} has a judgement but no text in the data set's files; restore them.")
    return Pair(query, document, judgement.grade)


def _unique(found: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for item in found:
        if item[0] not in seen:
            seen.add(item[0])
            yield item
