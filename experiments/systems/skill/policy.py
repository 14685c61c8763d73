"""What reads a question and says by which relations its answers are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from experiments.parts.text import Tokens
from experiments.parts.towers import TextModel, mean, new_encoder, pretrained_start


class PathPolicy(TextModel):
    """Questions in, logits of paths out: an encoder, the mean over the text's tokens, and a linear map.

    The relations of a path are independent of each other, given the question.

    Args:
        encoder: sizes of a new encoder; see `new_encoder`.
        pretrained: a folder, or a name on the Hugging Face hub, with the encoder's weights and their tokenizer, in the
            place of `encoder`.
        hops: V, relations of a path at most.
        relations: C, STOP among them.
        vocabulary: the number of tokens, for a new encoder.
        length: of the longest text in tokens.

    Raises:
        UserError: where the extra `systems` is missing, or the parts do not fit together.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any],
        pretrained: str | None = None,
        *,
        hops: int,
        relations: int,
        vocabulary: int,
        length: int,
    ) -> None:
        super().__init__(pretrained, None)
        self.shape = (hops, relations)
        if pretrained is None:
            self.encoder, self.tokenizer = new_encoder(encoder, vocabulary, length), ""
        else:
            self.encoder, self.tokenizer = pretrained_start(pretrained, length)
        self.heads = nn.Linear(self.encoder.config.hidden_size, hops * relations)
        nn.init.zeros_(self.heads.weight)  # all paths are tried at the start
        nn.init.zeros_(self.heads.bias)

    @property
    def padding(self) -> int:
        """The id of the token that pads."""
        return int(self.encoder.config.pad_token_id or 0)

    def forward(self, questions: Tokens) -> Tensor:
        """Logits `[N, V, C]`."""
        mask = questions.mask
        hidden = self.encoder(input_ids=questions.ids, attention_mask=mask.long()).last_hidden_state
        logits: Tensor = self.heads(mean(hidden, mask)).unflatten(-1, self.shape)
        return logits
