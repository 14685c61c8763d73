"""SmolLM2 from its package: a decoder with real weights, read from 4 bits, is adapted."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from tokenizers import Tokenizer

from experiments.parts import decoders
from experiments.systems.gemma_encoder import decoder as adapted
from experiments.train import build

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def smollm():
    """The network and its tokenizer as JSON: read once, for that takes a while."""
    return decoders.pretrained_decoder("SmolLM2-135M-Instruct")


def test_it_knows_what_its_weights_have_learned(smollm):
    network, tokenizer = smollm
    ids = Tokenizer.from_str(tokenizer).encode("The capital of France is").ids
    with torch.no_grad():
        said = network(input_ids=torch.tensor([ids])).logits[0, -1].argmax()
    assert Tokenizer.from_str(tokenizer).decode([int(said)]) == " Paris"


@pytest.mark.parametrize("mask", ["bidirectional", "causal"])
def test_all_its_weights_learn_as_an_encoder(mask, smollm, monkeypatch, tmp_path):
    monkeypatch.setattr(adapted, "pretrained_decoder", lambda name: smollm)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["system=gemma_encoder", "+tiny=gemma_encoder", "device=cpu", f"run.dir={tmp_path / 'run'}"]
        own = ["model.pretrained=SmolLM2-135M-Instruct", f"model.mask={mask}", "run.batch=2", "task.length=6"]
        run = build(compose("train", [*fixed, *own]))
    found = run.learning.forward(0)
    found.loss.backward()
    assert found.loss.isfinite()
    parameters = dict(run.task.model.decoder.named_parameters())
    assert sum(parameter.numel() for parameter in parameters.values()) > 134e6
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in parameters.values())
