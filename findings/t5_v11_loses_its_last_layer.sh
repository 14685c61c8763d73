#!/usr/bin/env bash
# transformers 5.24.0: one more token for a T5 1.1, and its trained last layer is replaced by the embedding, silently.
#
# T5 1.1 (Flan-T5, mT5 and others alike) has "tie_word_embeddings": false and a last layer of its own. T5Config takes the false
# as "does not scale" and is True itself ever after. So a new model made with tie_word_embeddings=False is tied. Published
# weights are loaded untied, with the advice to set what they have set; but whatever ties again by the configuration, such as
# resize_token_embeddings, throws the last layer away, and nothing is said.
source "$(dirname "$0")/with_torch.sh" transformers==5.24.0 torch==2.13.0 numpy==2.4.6
export HF_HUB_OFFLINE=1
venv/bin/python - <<'PY'
import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import T5Config, T5ForConditionalGeneration

print(transformers.__version__)
sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 50}
sizes |= {"feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0}
made = T5ForConditionalGeneration(T5Config(**sizes, tie_word_embeddings=False))
print("made with tie_word_embeddings=False, tied:", made.lm_head.weight is made.shared.weight)
assert made.lm_head.weight is made.shared.weight

torch.manual_seed(0)
head = torch.randn(50, 16)
state = {name: value.clone() for name, value in made.state_dict().items()} | {"lm_head.weight": head}
folder = Path("published")
folder.mkdir()
stated = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], **sizes, "tie_word_embeddings": False}
(folder / "config.json").write_text(json.dumps(stated))
save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
model = T5ForConditionalGeneration.from_pretrained(folder).eval()
asked = {"input_ids": torch.tensor([[3, 4, 5]]), "labels": torch.tensor([[6, 7]])}


def told(what):
    tied, kept = model.lm_head.weight is model.shared.weight, torch.equal(model.lm_head.weight[:50], head)
    print(f"{what}: configuration {model.config.tie_word_embeddings}, tied {tied}, last layer as published {kept}")
    with torch.no_grad():
        return tied, kept, model(**asked).logits[..., :50]


*state, before = told("loaded")
assert state == [False, True]
model.resize_token_embeddings(51, mean_resizing=False)
*state, after = told("with one more token")
print(f"logits of the tokens that were there have moved by up to {(after - before).abs().max():.1f}")
assert state == [True, False]
PY
