"""Answers as people write them: when two are the same."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """In lower case, without punctuation, articles and superfluous spaces, as SQuAD compares (arXiv 1606.05250)."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(WITHOUT_PUNCTUATION)).split())


def exact_match(answers: Sequence[str], right: Sequence[Sequence[str]]) -> list[bool]:
    """Whether each answer is one of those that are right, once both are `normalised`."""
    known: dict[str, str] = {}

    def same(text: str) -> str:
        return known.setdefault(text, normalised(text))

    return [same(answer) in {same(other) for other in others} for answer, others in zip(answers, right, strict=True)]
