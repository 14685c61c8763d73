"""Data sets of retrieval in the files that they are published as: MS MARCO, BEIR, MultiReQA."""

from __future__ import annotations

import bisect
from collections import defaultdict
from pathlib import Path
from typing import Any

from experiments.data.pairs import Pair, Pairs
from experiments.data.records import Judged, Judgement, Sizes, first, folder_of, grade, paired, records, table

CACHE = "~/.cache/discretegrad"


def ms_marco(
    root: str | None,
    pairs: int | None = None,
    held_out: int | None = None,
    others: int | None = None,
    cache: str = CACHE,
) -> Pairs:
    """MS MARCO's passages, from the files of collectionandqueries.tar.gz.

    Bajaj et al. 2016 (arXiv 1611.09268). Judged is by the queries of dev.small, as is usual; the leaderboard's MRR
    looks at the first ten places alone.

    Args:
        root: the folder with collection.tsv, and queries and qrels of train and dev.small.
        pairs: to train on, the smaller of two sets within the larger; None: all.
        held_out: queries to judge by, likewise.
        others: documents to search besides those that answer them, likewise; None: the whole collection.
        cache: see `Pairs`.

    Raises:
        UserError: where a file is missing or not of that form, or names a query or a document that there is not.
    """
    folder = folder_of(root)

    def judged(part: str) -> Judged:
        path, queries = folder / f"qrels.{part}.tsv", dict(table(folder / f"queries.{part}.tsv", 2))
        rows = table(path, 4)
        return Judged(queries, [Judgement(query, document, grade(path, g)) for query, _, document, g in rows])

    documents, sizes = table(folder / "collection.tsv", 2), Sizes(pairs, held_out, others)
    return paired("MS MARCO", judged("train"), judged("dev.small"), documents, sizes, cache)


def beir(
    root: str | None,
    split: str = "test",
    pairs: int | None = None,
    held_out: int | None = None,
    others: int | None = None,
    cache: str = CACHE,
) -> Pairs:
    """A data set of BEIR, from the files of its archive.

    Thakur et al. 2021 (arXiv 2104.08663). A document is its title and its text. Most of its data sets have nothing to
    train on: there, a title is trained to find its text.

    Args:
        root: the folder with corpus.jsonl, queries.jsonl and qrels/.
        split: whose queries judge: dev or test.
        pairs, held_out, others, cache: see `ms_marco`.

    Raises:
        UserError: see `ms_marco`.
    """
    folder, sizes = folder_of(root), Sizes(pairs, held_out, others)
    corpus = folder / "corpus.jsonl"
    queries = {str(row["_id"]): str(row["text"]) for row in records(folder / "queries.jsonl", "_id", "text")}

    def judged(path: Path) -> Judged:
        rows = list(table(path, 3))[1:]  # the first line names the columns
        return Judged(queries, [Judgement(query, document, grade(path, g)) for query, document, g in rows])

    learned = folder / "qrels" / "train.tsv"
    train = judged(learned) if learned.exists() else Judged({}, [])
    documents = ((str(row["_id"]), f"{_title(row)} {row['text']}".strip()) for row in records(corpus, "_id", "text"))
    judges = judged(folder / "qrels" / f"{split}.tsv")
    found = paired(f"BEIR's {folder.name}", train, judges, documents, sizes, cache)
    if learned.exists():
        return found
    titled = (
        (str(row["_id"]), Pair(_title(row), row["text"]))
        for row in records(corpus, "_id", "text")
        if _title(row) and row["text"].strip()
    )
    return found._replace(train=[pair for _, pair in first(pairs, titled)])


def multi_reqa(
    root: str | None,
    dataset: str = "SQuAD",
    split: str = "dev",
    pairs: int | None = None,
    held_out: int | None = None,
    others: int | None = None,
    cache: str = CACHE,
) -> Pairs:
    """A data set of MultiReQA: a question is answered by the sentences in which MRQA's shared task found its answer.

    Guo, Yang, Cer, Shen, Constant 2020 (arXiv 2005.02507). The document is the sentence alone; the paper's encoder also
    sees the passage around it.

    Args:
        root: the folder with both: train/SQuAD/candidates.json.gz and so on, the sentences' places as MultiReQA
            publishes them, and train/SQuAD.jsonl.gz and so on, the passages and questions as MRQA does.
        dataset: SQuAD, NaturalQuestions, ...
        split: that judges: dev or test.
        pairs, held_out, others, cache: see `ms_marco`.

    Raises:
        UserError: see `ms_marco`.
    """
    folder = folder_of(root)
    train, learned = _answered(folder / "train", dataset)
    judges, sentences = _answered(folder / split, dataset)
    answers = {judgement.document for judgement in train.judgements}
    documents = sentences | {document: text for document, text in learned.items() if document in answers}
    sizes = Sizes(pairs, held_out, others)
    return paired(f"MultiReQA's {dataset}", train, judges, documents.items(), sizes, cache)


def _answered(folder: Path, dataset: str) -> tuple[Judged, dict[str, str]]:
    """Questions and the sentences that answer them, and all sentences by their ids."""
    places = defaultdict(list)
    for row in records(folder / dataset / "candidates.json.gz", "candidate_id", "response_start", "response_end"):
        questions, _, number = str(row["candidate_id"]).rpartition("/_")  # SQuAD_QUESTION/QUESTION/_3
        first_question = questions.removeprefix(f"{dataset}_").partition("/")[0]
        places[first_question].append((row["response_start"], row["response_end"], number))
    texts: dict[str, str] = {}
    sentences: dict[str, str] = {}
    judgements: list[Judgement] = []
    for row in records(folder / f"{dataset}.jsonl.gz"):
        passage = next((qa["qid"] for qa in row.get("qas", ()) if qa["qid"] in places), None)
        if passage is None:  # the header, or a passage without candidates
            continue
        own = sorted(places[passage])
        sentences |= {f"{passage}/{number}": row["context"][start:end] for start, end, number in own}
        for qa in row["qas"]:
            texts[qa["qid"]] = qa["question"]
            judgements += [Judgement(qa["qid"], f"{passage}/{number}", 1) for number in _holding(own, qa)]
    return Judged(texts, judgements), sentences


def _holding(sentences: list[tuple[int, int, str]], question: dict[str, Any]) -> list[str]:
    """The numbers of the sentences that hold an answer; its places are inclusive, those of sentences are not."""
    starts, found = [start for start, _, _ in sentences], set()
    for answer in question["detected_answers"]:
        for begin, last in answer["char_spans"]:
            place = bisect.bisect_right(starts, begin) - 1
            if place >= 0 and last < sentences[place][1]:
                found.add(sentences[place][2])
    return sorted(found)


def _title(row: dict[str, Any]) -> str:
    return str(row.get("title") or "").strip()
