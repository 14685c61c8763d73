"""One encoder of queries and documents, in the setting of Gemini Embedding (arXiv 2503.07891)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from experiments.parts.starts import saved, take
from experiments.parts.text import Tokens
from experiments.parts.towers import TextModel, Tower, new_encoder, pretrained_start


class GeminiEmbedding(TextModel):
    """Texts as unit vectors: an encoder, the mean over its tokens, and a linear map.

    Args:
        encoder: sizes of a new encoder; see `new_encoder`.
        dimensions: D, of the embeddings.
        pretrained: a folder, or a name on the Hugging Face hub, with the encoder's weights and their tokenizer, in the
            place of `encoder`.
        start: the folder of a run of this system, or of a soup of some, to go on from, projection included; it has the
            sizes of `encoder`.
        vocabulary: the number of tokens, for a new encoder.
        length: of the longest text in tokens.
        trigrams: see `new_encoder`.

    Raises:
        UserError: where the extra `systems` is missing, or the parts do not fit together.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any],
        dimensions: int,
        pretrained: str | None = None,
        start: str | None = None,
        *,
        vocabulary: int,
        length: int,
        trigrams: int | None = None,
    ) -> None:
        super().__init__(pretrained, start)
        if pretrained is not None:
            own, self.tokenizer = pretrained_start(pretrained, length)
        else:
            own, self.tokenizer = new_encoder(encoder, vocabulary, length, trigrams), ""
        self.tower = Tower(own, dimensions)
        if start is not None:
            weights, self.tokenizer, _ = saved("model.start", start, "model.tower.")
            take("model.start", start, self.tower, weights)

    def forward(self, tokens: Tokens) -> Tensor:
        """Embeddings `[N, D]` of length 1."""
        embeddings: Tensor = self.tower(tokens)
        return embeddings
