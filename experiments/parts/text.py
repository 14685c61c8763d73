"""Texts as tensors: a tokenizer trained on them, made once, and what it gives."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from experiments.errors import UserError
from experiments.files import write_whole

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PADDING, UNKNOWN, END = "[PAD]", "[UNK]", "</s>"
SENTINEL = "<extra_id_{}>"
"""T5's tokens: the end of a text, and what stands for a part of a text that is left out."""
CHUNK = 2000


class Tokens(NamedTuple):
    """Texts, one a row."""

    ids: Tensor
    """int64 `[N, L]`; behind a text's end, whatever pads it."""
    lengths: Tensor
    """int64 `[N]`."""
    text: Tensor
    """int64 `[N]`, the same number for the same text."""

    @property
    def mask(self) -> Tensor:
        """bool `[N, L]`, where there is text."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths.unsqueeze(1)

    def take(self, index: Tensor | slice) -> Tokens:
        """Some of the texts, as long as the longest of them."""
        ids, lengths, text = (column[index] for column in self)
        return Tokens(ids[:, : int(lengths.max())], lengths, text)

    def to(self, device: torch.device) -> Tokens:
        """The same on another device."""
        return Tokens(*(column.to(device) for column in self))


def trained_tokenizer(
    texts: Sequence[str], size: int, cache: str, progress: bool = True, whole: bool = False, sentinels: int = 0
) -> str:
    """A tokenizer of the texts' own words and parts of words, by byte-pair encoding, without regard to case.

    It is made once: another call with the same texts finds it in the cache. The start of a word has a mark of its own:
    marking what continues a word, as `tokenizers` does for WordPiece, gives other parts each time that it is trained.

    Args:
        texts: to train it on.
        size: of the vocabulary, at most.
        cache: a folder, which is made.
        progress: whether to show how far it is.
        whole: whole words only, the most frequent ones, without punctuation.
        sentinels: for a language model: how many sentinel tokens there are. Texts then end with `END`, accents stay,
            and decoded tokens are the text, in lower case.

    Returns:
        It as JSON, for `tokenizers.Tokenizer.from_str`.

    Raises:
        UserError: where the cache cannot be written, or holds a broken file.
    """
    import tokenizers

    kind = "words" if whole else f"bpe with {sentinels} sentinels" if sentinels else "bpe"
    recipe = (kind, tokenizers.__version__, size, *texts)
    path = Path(cache).expanduser() / "tokenizers" / f"{hashlib.sha256(repr(recipe).encode()).hexdigest()[:32]}.json"
    try:
        if path.exists():
            return path.read_text(encoding="utf-8")
        path.parent.mkdir(parents=True, exist_ok=True)
        # or the bar prints empty lines
        shown = progress and sys.stderr.isatty()
        tokenizer, trainer = _words(size, shown) if whole else _parts_of_words(size, shown, sentinels)
        tokenizer.train_from_iterator(texts, trainer, length=len(texts))
        if sentinels:
            _end_texts(tokenizer)
        content = tokenizer.to_str()
        write_whole(path, lambda file: file.write(content.encode()))
        return content
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}); name another folder with data.cache=FOLDER.") from error


def _parts_of_words(size: int, progress: bool, sentinels: int) -> tuple[Any, Any]:
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False if sentinels else None)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    # spaces around a sentinel are its own: the text behind it starts with a mark all the same
    own = [
        AddedToken(SENTINEL.format(index), lstrip=True, rstrip=True, normalized=False, special=True)
        for index in range(sentinels)
    ]
    special = [PADDING, UNKNOWN, *([END] if sentinels else []), *own]
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, special_tokens=special, show_progress=progress)
    return tokenizer, trainer


def _end_texts(tokenizer: Any) -> None:
    from tokenizers import decoders, processors

    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", END], special_tokens=[(END, tokenizer.token_to_id(END))]
    )


def _words(size: int, progress: bool) -> tuple[Any, Any]:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\W+"), "removed")
    special = [PADDING, UNKNOWN]
    return tokenizer, trainers.WordLevelTrainer(vocab_size=size, special_tokens=special, show_progress=progress)


def encode(tokenizer: Tokenizer, texts: Sequence[str], length: int, padding: int, progress: bool = True) -> Tokens:
    """The texts' tokens.

    Args:
        tokenizer: whatever padding and truncation it has is replaced.
        texts: to encode.
        length: in tokens, to which longer texts are cut off.
        padding: the id to pad with.
        progress: whether to show how far it is, where that takes long.

    Raises:
        UserError: where a text holds no token.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    rows: list[list[int]] = []
    hidden = not progress or len(texts) <= CHUNK
    with tqdm(total=len(texts), disable=hidden, unit="text", desc="tokens", leave=False) as bar:
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            rows += [found.ids for found in tokenizer.encode_batch(part)]
            bar.update(len(part))
    unknown = tokenizer.token_to_id(UNKNOWN)
    for number, (text, row) in enumerate(zip(texts, rows, strict=True)):
        if not row and text.strip() and unknown is not None:  # punctuation, where tokens are words
            row.append(unknown)
        if not row or not text.strip():
            raise UserError(f"text {number} of the data set is empty ({text!r}); leave it out.")
    numbers: dict[str, int] = {}
    return Tokens(*padded(rows, padding), torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts]))


def padded(rows: Sequence[Sequence[int]], padding: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Rows of ids as one tensor `[N, L]`, and their lengths `[N]`."""
    lengths = torch.tensor([len(row) for row in rows])
    most = int(lengths.max())
    ids = torch.tensor([[*row, *[padding] * (most - len(row))] for row in rows])
    return ids.to(device), lengths.to(device)
