"""The texts of a task as tokens, by one tokenizer that goes with the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.engine import World
from experiments.errors import require_count
from experiments.parts.text import Tokens, encode, trained_tokenizer
from experiments.parts.words import SubwordEmbedding, known_words, spelled


class Reader:
    """Reads columns of texts, the same in all processes.

    Args:
        vocabulary: tokens at most of a tokenizer that is trained.
        length: in tokens, to which longer texts are cut off.
        trigrams: None: tokens are parts of words; else they are words.
        sentinels: for a language model: see `trained_tokenizer`.
        bare: whether texts are read without the tokens that the tokenizer puts around them.

    Raises:
        UserError: for what is no count.
    """

    def __init__(
        self, vocabulary: int, length: int, trigrams: int | None, sentinels: int = 0, bare: bool = False
    ) -> None:
        require_count("task.vocabulary", vocabulary, least=3)
        require_count("task.length", length)
        self.vocabulary, self.length, self.trigrams, self.sentinels = vocabulary, length, trigrams, sentinels
        self.bare = bare
        self.tokenizer = ""
        """As JSON, from `begin` on."""
        self.own: Any = None
        """The tokenizer that reads."""
        self.columns: list[Tokens] = []
        """In the order of the texts' columns, on the process's device."""

    def begin(
        self,
        columns: Sequence[Sequence[str]],
        trained_on: Sequence[str],
        tokenizer: str,
        cache: str,
        padding: int,
        embedders: Sequence[SubwordEmbedding],
        world: World,
        progress: bool,
    ) -> None:
        """Read the columns; train a tokenizer if the cache has none for these texts.

        Args:
            columns: the texts.
            trained_on: texts for the tokenizer.
            tokenizer: as JSON; empty: it is trained.
            cache: see `trained_tokenizer`.
            padding: the id to pad with.
            embedders: of words and trigrams, which come to know how the words are spelled.
            world: the processes.
            progress: whether to show how far it is.
        """
        self._texts, self._padding, self._embedders = columns, padding, embedders
        self._device, self._shown = world.device, progress and world.writes
        # In one process, whose result is all processes': they need not share a cache.
        made, whole = tokenizer, self.trigrams is not None
        if world.writes and not tokenizer:
            made = trained_tokenizer(trained_on, self.vocabulary, cache, self._shown, whole, self.sentinels)
        self._read(world.every(made)[0])

    def state(self) -> dict[str, Tensor]:
        """For the checkpoint: the tokenizer, without which the weights mean nothing."""
        return {"tokenizer": torch.frombuffer(bytearray(self.tokenizer.encode()), dtype=torch.uint8)}

    def load(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        tokenizer = saved_tokenizer(state)
        if tokenizer != self.tokenizer:  # another version of the package may train another
            self._read(tokenizer)

    def _read(self, tokenizer: str) -> None:
        from tokenizers import Tokenizer

        self.tokenizer, own = tokenizer, Tokenizer.from_str(tokenizer)
        if self._embedders:
            known = known_words(tokenizer)
            own, forms = spelled(tokenizer, [text for column in self._texts for text in column])
            for embedder in self._embedders:
                embedder.spell(forms, known)
        if self.bare:
            own.post_processor = None
        self.own = own
        self.columns = [
            encode(own, column, self.length, self._padding, self._shown).to(self._device) for column in self._texts
        ]


def saved_tokenizer(state: dict[str, Tensor]) -> str:
    """As JSON, from `Reader.state`."""
    return bytes(state["tokenizer"].tolist()).decode()
