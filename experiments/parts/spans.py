"""Span corruption: parts of a text are left out, and are what is to be said (Raffel et al. 2020, arXiv 1910.10683)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch

from experiments.errors import UserError, require_number
from experiments.parts.text import SENTINEL, Tokens, padded


class Corrupted(NamedTuple):
    """Texts with sentinels in the place of parts, and those parts, each behind its sentinel."""

    texts: Tokens
    answers: Tokens


class Spans:
    """Leaves parts out, as T5 does: a share of the tokens, in spans of random lengths and places.

    Args:
        tokenizer: of `tokenizers`, with sentinels; texts end with its end token.
        padding: the id to pad with.
        density: the share of tokens that is left out.
        mean: the spans' mean length.

    Raises:
        UserError: for what is no share and no length, or where the tokenizer has no sentinel.
    """

    def __init__(self, tokenizer: object, padding: int, density: float = 0.15, mean: float = 3.0) -> None:
        require_number("task.density", density, least=1e-3, below=1)
        require_number("task.span", mean, least=1, below=1e6)
        self.padding, self.density, self.mean = padding, density, mean
        self.sentinels = sentinel_ids(tokenizer)

    def __call__(self, texts: Tokens, generator: torch.Generator | None) -> Corrupted:
        """Corrupt texts of at least one token and an end."""
        if generator is not None:  # one on the CPU, from which places are drawn without waiting for a GPU each time
            seed = torch.randint(2**62, (), generator=generator, device=generator.device)
            generator = torch.Generator().manual_seed(int(seed))
        lengths, rows = texts.lengths.tolist(), texts.ids.tolist()
        split = [self._row(row[:length], generator) for row, length in zip(rows, lengths, strict=True)]
        inputs, answers = (padded(column, self.padding, texts.ids.device) for column in zip(*split, strict=True))
        return Corrupted(Tokens(*inputs, texts.text), Tokens(*answers, texts.text))

    def _row(self, ids: list[int], generator: torch.Generator | None) -> tuple[list[int], list[int]]:
        *ids, end = ids
        left_out = self.left_out(len(ids), generator)
        inputs: list[int] = []
        answers: list[int] = []
        count = 0
        for place, (token, out) in enumerate(zip(ids, left_out, strict=True)):
            if out and (place == 0 or not left_out[place - 1]):
                inputs.append(self.sentinels[count])
                answers.append(self.sentinels[count])
                count += 1
            (answers if out else inputs).append(token)
        return [*inputs, end], [*answers, end]

    def left_out(self, length: int, generator: torch.Generator | None) -> list[bool]:
        """Which of a text's tokens are left out: spans of at least one token, with others between them.

        T5's texts of 512 tokens always end with a span, which in a text with a single one would be its end every time:
        here all places have the same probability.
        """
        if length < 2:
            return [True] * length
        out = min(max(round(length * self.density), 1), length - 1)
        spans = min(max(round(out / self.mean), 1), length - out + 1, len(self.sentinels))
        kept = _parts(length - out + 2, spans + 1, generator)
        kept = [kept[0] - 1, *kept[1:-1], kept[-1] - 1]
        flags = [False] * kept[0]
        for gone, after in zip(_parts(out, spans, generator), kept[1:], strict=True):
            flags += [True] * gone + [False] * after
        return flags


def sentinel_ids(tokenizer: object) -> list[int]:
    """Of the sentinels, in their order.

    Raises:
        UserError: where there is none.
    """
    find = tokenizer.token_to_id  # type: ignore[attr-defined]
    found: list[int] = []
    while (number := find(SENTINEL.format(len(found)))) is not None:
        found.append(number)
    if not found:
        raise UserError(f"the tokenizer has no sentinel {SENTINEL.format(0)}; use the one of a model such as T5.")
    return found


def _parts(total: int, count: int, generator: torch.Generator | None) -> Sequence[int]:
    """A total as so many parts of at least 1, all ways with the same probability."""
    cuts = torch.randperm(total - 1, generator=generator)[: count - 1].sort().values
    ends = [0, *(cuts + 1).tolist(), total]
    return [end - start for start, end in itertools.pairwise(ends)]
