"""An encoder with codes behind it, as a model of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path

from experiments.errors import UserError
from experiments.files import write_whole
from experiments.parts.codes import Codes
from experiments.parts.embeddings import HASHED, Frozen
from experiments.parts.extras import require_extra
from experiments.parts.towers import pretrained_folder, quietly


def save_coded_sentences(folder: Path, frozen: Frozen, codes: Codes, beam: int) -> None:
    """Write them so that `encode_query` and `encode_document` give what is searched: by cosines, it is the codes'.

    The module of codes is no part of sentence-transformers, and so its source goes along, which a reader must trust.

    Args:
        folder: where to; it is made.
        frozen: the encoder.
        codes: of its embeddings.
        beam: of the search for a residual code.

    Raises:
        UserError: where sentence-transformers is missing, or the encoder is none of it.
    """
    require_extra("export", "sentence_transformers")
    if frozen.encoder == HASHED:
        raise UserError(
            "hashed trigrams are no encoder of sentence-transformers; train by task.encoder=NAME_OR_FOLDER."
        )
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from experiments.parts.served_codes import ServedCodes

    layer = ServedCodes(codes.structure, beam, [[*codes.projection.shape], [*codes.codebooks.shape]])
    own = {"projection": codes.projection, "heads": codes.heads, "biases": codes.biases, "table": codes.table}
    layer.load_state_dict({name: tensor.detach().cpu() for name, tensor in own.items()})
    place = pretrained_folder(frozen.encoder, "task.encoder")
    with quietly():
        encoder = Transformer(str(place), max_seq_length=frozen.length)
        pooling = Pooling(encoder.get_embedding_dimension(), "mean")
        model = SentenceTransformer(modules=[encoder, pooling, Normalize(), layer], device="cpu")
        model.save_pretrained(str(folder), create_model_card=False)
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = "served_codes.ServedCodes"
    write_whole(folder / "modules.json", lambda file: file.write(json.dumps(modules, indent=2).encode()))
