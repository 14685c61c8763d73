"""Codes as a module of sentence-transformers; with code_search.py it is all that an exported model needs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from sentence_transformers.base.modules import Module
from torch import Tensor

from .code_search import Weights, decode, search


class ServedCodes(Module):
    """Queries stay floating-point numbers; documents become what their codes stand for, and the codes are beside them.

    Args:
        structure: of the codes.
        beam: of the search for a residual code.
        sizes: of the projection, `[W, D]`, and of the codebooks, `[V, C, W]`.
    """

    config_keys: ClassVar[list[str]] = ["structure", "beam", "sizes"]
    forward_kwargs: ClassVar[set[str]] = {"task"}

    def __init__(self, structure: str, beam: int, sizes: list[list[int]]) -> None:
        super().__init__()
        self.structure, self.beam, self.sizes = structure, beam, sizes
        projection, codebooks = sizes
        self.register_buffer("projection", torch.zeros(projection))
        self.register_buffer("heads", torch.zeros(codebooks))
        self.register_buffer("biases", torch.zeros(codebooks[:-1]))
        self.register_buffer("table", torch.zeros(codebooks))

    def forward(self, features: dict[str, Any], task: str | None = None, **_: Any) -> dict[str, Any]:
        """Of `encode_query` and of `encode_document`, whose features have int64 `codes` `[N, V]` as well."""
        found: Tensor = features["sentence_embedding"] @ self.projection.T
        if task != "query":
            weights = Weights(self.heads, self.biases, self.table, self.structure)
            features["codes"] = search(weights, found, self.beam)
            found = decode(weights, features["codes"])
        features["sentence_embedding"] = F.normalize(found, dim=-1)
        return features

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        """Also writes the source beside the model's modules.json, where it is loaded from."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)
        for name in ("served_codes.py", "code_search.py"):
            shutil.copy(Path(__file__).with_name(name), Path(output_path).parent)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> ServedCodes:
        names = ("token", "cache_folder", "revision", "local_files_only")
        hub = {name: kwargs[name] for name in names if name in kwargs}
        model = cls(**cls.load_config(model_name_or_path, subfolder=subfolder, **hub))
        found: ServedCodes = cls.load_torch_weights(model_name_or_path, subfolder=subfolder, model=model, **hub)
        return found
