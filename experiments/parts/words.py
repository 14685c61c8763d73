"""Words as sums of what they are made of: the word itself and its hashed trigrams, so that none is unknown."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.errors import UserError
from experiments.parts.text import PADDING, UNKNOWN, Tokens

FORMS = 10_000_000
"""More than any texts have: as many words are told apart."""


class SubwordEmbedding(nn.Module):
    """A word's vector is the mean of its own row, if it is a frequent one, and the rows of its trigrams.

    Of "<cat>" the trigrams are "<ca", "cat" and "at>"; those whose hashes coincide share a row. As fastText, whose
    n-grams have 3 to 6 characters: Bojanowski, Grave, Joulin, Mikolov 2017 (arXiv 1607.04606).

    Args:
        words: number of frequent words, the first two of which pad and stand for the unknown.
        buckets: rows for trigrams.
        width: H, of the vectors.
        scale: that they are multiplied by, as Gemma's are.
    """

    pieces: Tensor

    def __init__(self, words: int, buckets: int, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.words, self.buckets, self.scale = words, buckets, scale
        self.weight = nn.Parameter(torch.randn(words + buckets, width) * 0.02)
        self.register_buffer("pieces", torch.zeros(1, 1, dtype=torch.long), persistent=False)

    def spell(self, forms: Sequence[str], known: dict[str, int]) -> None:
        """Say which words the ids mean from now on; nothing that is learned changes.

        Args:
            forms: the words, the first of which pads.
            known: the rows of the frequent ones.
        """
        rows = [[0], *(self._pieces(form, known) for form in forms[1:])]
        table = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.long)
        for row, own in zip(table, rows, strict=True):
            row[: len(own)] = torch.tensor(own)
        self.pieces = table.to(self.weight.device)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors `[*, H]` of ids `[*]`; that of what pads is zero."""
        found = F.embedding_bag(self.pieces[ids.flatten()], self.weight, mode="mean", padding_idx=0)
        return self.scale * found.reshape(*ids.shape, -1)

    def _pieces(self, form: str, known: dict[str, int]) -> list[int]:
        marked = f"<{form}>"
        trigrams = {marked[i : i + 3] for i in range(len(marked) - 2)}
        hashed = sorted({self.words + zlib.crc32(trigram.encode()) % self.buckets for trigram in trigrams})
        return [*([known[form]] if form in known else []), *hashed]


def known_words(tokenizer: str) -> dict[str, int]:
    """The rows of a tokenizer's words.

    Args:
        tokenizer: as JSON, from `trained_tokenizer`.

    Raises:
        UserError: where it is one of parts of words.
    """
    model = json.loads(tokenizer)["model"]
    if model["type"] != "WordLevel":
        raise UserError("the tokenizer has parts of words, and trigrams go with whole ones; give task.trigrams=null.")
    words: dict[str, int] = model["vocab"]
    return words


def spelled(tokenizer: str, texts: Sequence[str]) -> tuple[Any, list[str]]:
    """A tokenizer that cuts texts as another does and knows each of their words, and the words in its order.

    Args:
        tokenizer: as JSON, from `trained_tokenizer`.
        texts: all that it will see.
    """
    from tokenizers import Tokenizer, models, trainers

    own = Tokenizer.from_str(tokenizer)
    own.model = models.WordLevel(unk_token=UNKNOWN)
    own.train_from_iterator(
        texts, trainers.WordLevelTrainer(vocab_size=FORMS, special_tokens=[PADDING, UNKNOWN], show_progress=False)
    )
    vocabulary = own.get_vocab()
    return own, sorted(vocabulary, key=vocabulary.__getitem__)


def drop_words(tokens: Tokens, rate: float, generator: torch.Generator) -> Tokens:
    """Leave out each word with a probability; of every text at least one stays.

    Args:
        tokens: the texts.
        rate: the probability.
        generator: of the noise.
    """
    mask = tokens.mask
    noise = torch.rand(mask.shape, generator=generator, device=mask.device).masked_fill(~mask, -1)
    kept = mask & ((noise >= rate) | (noise == noise.amax(1, keepdim=True)))
    order = (~kept).long().argsort(dim=1, stable=True)
    lengths = kept.sum(1)
    return Tokens(tokens.ids.gather(1, order)[:, : int(lengths.max())], lengths, tokens.text)
