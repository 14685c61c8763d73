"""Embeddings of texts by an encoder that is not trained, made once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from experiments.data.pairs import Pairs
from experiments.engine import World
from experiments.errors import UserError, require_count
from experiments.files import write_whole
from experiments.parts.extras import require_extra
from experiments.parts.retrieval import Judged
from experiments.parts.text import encode
from experiments.parts.towers import FILES, mean_state, pretrained_encoder, pretrained_folder

HASHED = "hashed"
WIDTH = 256
"""Dimensions of hashed trigrams."""
CHUNK = 64
"""Texts that are embedded at a time."""


class Embedded(NamedTuple):
    """Texts as vectors of length 1; of pairs, row by row."""

    queries: Tensor
    documents: Tensor
    same: Tensor
    """int64, equal for equal queries."""

    def take(self, index: Tensor) -> Embedded:
        """Some of the pairs."""
        return Embedded(*(column[index] for column in self))

    def to(self, device: torch.device) -> Embedded:
        """The same on another device."""
        return Embedded(*(column.to(device) for column in self))


class Frozen(NamedTuple):
    """What embeds texts."""

    encoder: str
    """"hashed": counts of hashed trigrams, which need no weights; or a folder or a name, as `pretrained_folder`."""
    length: int
    """In tokens, to which longer texts are cut off."""
    cache: str
    """A folder for the embeddings."""

    def check(self) -> None:
        """Refuse what cannot be had.

        Raises:
            UserError: where a package or the weights are missing.
        """
        require_count("task.length", self.length)
        if self.encoder != HASHED:
            require_extra("systems", "transformers", "tokenizers")
            pretrained_folder(self.encoder, "task.encoder")

    def embed(self, texts: Sequence[str], progress: bool = True) -> Tensor:
        """Embeddings `[N, D]` of length 1, from the cache if it has those of these texts by these weights.

        A file of the cache is whole or not there; what is interrupted begins anew.

        Raises:
            UserError: where the cache cannot be written, or holds a broken file.
        """
        if self.encoder == HASHED:
            return hashed(texts)
        folder = pretrained_folder(self.encoder, "task.encoder")
        contents = [hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in FILES]
        recipe = hashlib.sha256(repr((contents, self.length, *texts)).encode()).hexdigest()[:32]
        path = Path(self.cache).expanduser() / "embeddings" / f"{recipe}.pt"
        try:
            if path.exists():
                return _read(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            found = _embedded(folder, texts, self.length, progress)
            write_whole(path, lambda file: torch.save(found, file))
            return found
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error}); name another folder with data.cache=FOLDER."
            ) from error

    def embed_pairs(self, pairs: Pairs, judged: Judged, progress: bool, world: World) -> tuple[Embedded, Embedded]:
        """Pairs to train on; and queries and documents to judge by, as `judged` has them, which are no pairs.

        Embedded in one process, whose result is all processes': they need not share a cache.
        """
        made = self._pairs(pairs, judged, progress) if world.writes else None
        train, held_out = (part.to(world.device) for part in world.every(made)[0])
        return train, held_out

    def _pairs(self, pairs: Pairs, judged: Judged, progress: bool) -> tuple[Embedded, Embedded]:
        train = [pair.query for pair in pairs.train], [pair.document for pair in pairs.train]
        columns = (*train, judged.queries, judged.documents)
        rows = {text: row for row, text in enumerate(dict.fromkeys(text for column in columns for text in column))}
        found = self.embed([*rows], progress)
        places = [torch.tensor([rows[text] for text in column]) for column in columns]
        queries, documents, asked, searched = (found[place] for place in places)
        return Embedded(queries, documents, places[0]), Embedded(asked, searched, places[2])


def _read(path: Path) -> Tensor:
    try:
        found: Tensor = torch.load(path, weights_only=True)
        return found
    except OSError:
        raise
    except Exception as error:  # torch's own words go on for a page
        raise UserError(f"{path} is damaged; remove it, and it is made again.") from error


def hashed(texts: Sequence[str]) -> Tensor:
    """Counts of hashed trigrams `[N, WIDTH]`, of length 1."""
    from sklearn.feature_extraction.text import HashingVectorizer

    counts = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 3), n_features=WIDTH).transform(texts)
    return F.normalize(torch.from_numpy(counts.toarray()).float(), dim=-1)


@torch.no_grad()
def _embedded(folder: Path, texts: Sequence[str], length: int, progress: bool) -> Tensor:
    """The mean over a text's tokens, as sentence-transformers makes it; long texts first, so that few tokens pad."""
    from tokenizers import Tokenizer

    encoder = pretrained_encoder(folder, length).eval()
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokens = encode(tokenizer, texts, length, encoder.config.pad_token_id or 0, progress)
    found = torch.empty(len(texts), encoder.config.hidden_size)
    hidden = not progress or len(texts) <= CHUNK
    with tqdm(total=len(texts), disable=hidden, unit="text", desc="embeddings", leave=False) as bar:
        for rows in tokens.lengths.argsort(descending=True, stable=True).split(CHUNK):
            found[rows] = F.normalize(mean_state(encoder, tokens.take(rows)), dim=-1)
            bar.update(len(rows))
    return found
