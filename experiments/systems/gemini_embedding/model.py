"""One encoder of queries and documents, in the setting of Gemini Embedding (arXiv 2503.07891)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from experiments.engine import UserError
from experiments.parts.extras import require_extra
from experiments.parts.starts import saved, take
from experiments.parts.text import Tokens
from experiments.parts.towers import Tower, new_encoder, pretrained_encoder, pretrained_folder
from experiments.parts.words import SubwordEmbedding


class GeminiEmbedding(nn.Module):
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
        super().__init__()
        require_extra("systems", "transformers", "tokenizers", "torchmetrics")
        if pretrained is not None and start is not None:
            raise UserError("model.pretrained and model.start both say what to start from; give one of them.")
        self.tokenizer = ""
        """As JSON; empty where it is to be trained."""
        if pretrained is not None:
            folder = pretrained_folder(pretrained)
            self.tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
            self.tower = Tower(pretrained_encoder(folder, length), dimensions)
        else:
            self.tower = Tower(new_encoder(encoder, vocabulary, length, trigrams), dimensions)
        if start is not None:
            weights, self.tokenizer = saved("model.start", start, "model.tower.")
            take("model.start", start, self.tower, weights)

    @property
    def padding(self) -> int:
        """The id of the token that pads."""
        config: Any = self.tower.encoder.config
        return config.pad_token_id or 0

    @property
    def subwords(self) -> list[SubwordEmbedding]:
        """The embedders of words and trigrams, if these are the tokens."""
        return [module for module in self.modules() if isinstance(module, SubwordEmbedding)]

    def forward(self, tokens: Tokens) -> Tensor:
        """Embeddings `[N, D]` of length 1."""
        embeddings: Tensor = self.tower(tokens)
        return embeddings
