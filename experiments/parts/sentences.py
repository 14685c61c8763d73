"""Towers as models of sentence-transformers, which is how the rest of the world takes them."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.parts.extras import require_extra
from experiments.parts.text import PADDING, UNKNOWN
from experiments.parts.towers import Tower, quietly
from experiments.parts.words import SubwordEmbedding


def save_sentence_transformer(folder: Path, query: Tower, document: Tower, tokenizer: Any, length: int) -> None:
    """Write towers so that `SentenceTransformer(FOLDER).encode` gives their embeddings.

    Two towers become one model with two routes, `encode_query` and `encode_document`. Words that are embedded by their
    trigrams become rows of a plain embedding, for all words that the tokenizer knows; others are zero there.

    Args:
        folder: where to; it is made.
        query, document: the towers; the same one for a model with one route.
        tokenizer: of `tokenizers`, whose tokens they read.
        length: in tokens, to which longer texts are cut off.

    Raises:
        UserError: where sentence-transformers is missing.
    """
    require_extra("export", "sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    with tempfile.TemporaryDirectory() as place, quietly():
        routes = [_modules(Path(place) / "query", query, tokenizer, length)]
        if document is query:
            model = SentenceTransformer(modules=routes[0], device="cpu")
        else:
            routes.append(_modules(Path(place) / "document", document, tokenizer, length))
            model = SentenceTransformer(modules=[Router.for_query_document(*routes)], device="cpu")
        model.save_pretrained(str(folder), create_model_card=False)


def _modules(folder: Path, tower: Tower, tokenizer: Any, length: int) -> list[Any]:
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import PreTrainedTokenizerFast

    encoder = _plain(tower.encoder, tokenizer)
    encoder.save_pretrained(folder)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    special = {"pad_token": tokenizer.id_to_token(encoder.config.pad_token_id or 0)}
    if tokenizer.token_to_id(UNKNOWN) is not None:
        special["unk_token"] = UNKNOWN
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=length, **special)
    fast.model_input_names = ["input_ids", "attention_mask"]
    fast.save_pretrained(folder)
    width, dimensions = tower.projection.in_features, tower.projection.out_features
    dense = Dense(width, dimensions, bias=False, activation_function=nn.Identity())
    dense.load_state_dict({"linear.weight": tower.projection.weight.detach().cpu()})
    return [Transformer(str(folder), max_seq_length=length), Pooling(width, "mean"), dense, Normalize()]


@torch.no_grad()
def _plain(encoder: Any, tokenizer: Any) -> Any:
    """A copy whose embedder of tokens is that of its architecture."""
    encoder = copy.deepcopy(encoder).cpu()
    embedder = encoder.get_input_embeddings()
    if isinstance(embedder, SubwordEmbedding):
        count = tokenizer.get_vocab_size()
        rows = embedder(torch.arange(count)) / embedder.scale
        rows[tokenizer.token_to_id(UNKNOWN)] = 0
        assert tokenizer.token_to_id(PADDING) == 0
        encoder.set_input_embeddings(nn.Embedding.from_pretrained(rows, freeze=False))
        encoder.config.vocab_size = count
    return encoder
