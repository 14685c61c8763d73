"""A tower for queries and one for documents, in the setting of Dual Encoders (arXiv 2204.07120)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from experiments.engine import UserError
from experiments.parts.extras import require_extra
from experiments.parts.text import Tokens
from experiments.parts.towers import Tower, new_encoder, pretrained_encoder, pretrained_folder


class DualEncoder(nn.Module):
    """Queries and documents as unit vectors.

    Args:
        encoder: sizes of a new encoder; see `new_encoder`.
        dimensions: D, of the embeddings.
        shared: one tower for both (SDE); else two (ADE), whose encoders start from the same weights, and are trained
            apart, and whose projections start apart.
        pretrained: a folder, or a name on the Hugging Face hub, with the encoder's weights and their tokenizer, in the
            place of `encoder`.
        vocabulary: the number of tokens, for a new encoder.
        length: of the longest text in tokens.

    Raises:
        UserError: where the extra `systems` is missing, or the parts do not fit together.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any],
        dimensions: int,
        shared: bool = True,
        pretrained: str | None = None,
        *,
        vocabulary: int,
        length: int,
    ) -> None:
        super().__init__()
        require_extra("systems", "transformers", "tokenizers", "torchmetrics")
        if not isinstance(shared, bool):
            raise UserError(f"model.shared is true or false, not {shared!r}.")
        self.folder: Path | None = None if pretrained is None else pretrained_folder(pretrained)
        """Of the pretrained weights and their tokenizer."""
        if self.folder is None:
            start = new_encoder(encoder, vocabulary, length)
        else:
            start = pretrained_encoder(self.folder, length)
        self.query_tower = Tower(start, dimensions)
        self.document_tower = self.query_tower if shared else Tower(copy.deepcopy(start), dimensions)

    @property
    def padding(self) -> int:
        """The id of the token that pads."""
        config: Any = self.query_tower.encoder.config
        return config.pad_token_id or 0

    def forward(self, queries: Tokens, documents: Tokens) -> tuple[Tensor, Tensor]:
        """Embeddings of both, `[B, D]`."""
        return self.query_tower(queries), self.document_tower(documents)
