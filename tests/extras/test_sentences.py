"""What is trained loads in sentence-transformers and embeds as it did; real weights are those of their package."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from sentence_transformers import SentenceTransformer

from experiments.errors import UserError
from experiments.export import export, trained
from experiments.parts.embeddings import Frozen
from experiments.parts.towers import embed, mean, pretrained_encoder, pretrained_folder
from experiments.train import train

CONF = Path(__file__).parents[2] / "conf"
KINDS = {
    "bert": "",
    "t5": "{model_type: t5, d_model: 16, d_kv: 8, d_ff: 32, num_layers: 2, num_heads: 2}",
    "gemma3_text": "{model_type: gemma3_text, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, "
    "num_key_value_heads: 1, head_dim: 8, intermediate_size: 32}",
}
"""Encoders; empty: that of the configuration."""


def run(folder, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["system=dual_encoder", "+tiny=dual_encoder", "device=cpu", f"run.dir={folder / 'run'}"]
        train(compose("train", [*fixed, *overrides]))
    return folder / "run"


def compared(folder):
    """Our embeddings and theirs of held-out queries and documents."""
    task = trained(folder / "run").task
    model = SentenceTransformer(str(folder / "out"), device="cpu")
    pairs = task.pairs.held_out
    texts = [pair.query for pair in pairs], [pair.document for pair in pairs]
    routes = [model.encode_query, model.encode_document]
    theirs = [route(column, convert_to_tensor=True) for route, column in zip(routes, texts, strict=True)]
    columns = zip(task.towers(), task.held_out, strict=True)
    return [embed(tower, tokens, task.world) for tower, tokens in columns], theirs


@pytest.mark.parametrize("trigrams", [50, "null"])
@pytest.mark.parametrize("variant", ["sde", "ade_spl"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_embeds_the_same_in_sentence_transformers(kind, variant, trigrams, tmp_path):
    sizes = ["~model.encoder", f"+model.encoder={KINDS[kind]}"] if KINDS[kind] else []
    run(tmp_path, f"model.variant={variant}", f"task.trigrams={trigrams}", "task.length=7", *sizes)
    said = export(tmp_path / "run", tmp_path / "out")
    assert ("encode_query" in said) == (variant != "sde")
    for mine, theirs in zip(*compared(tmp_path), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(mine[0], mine[1], atol=1e-2)
    if variant == "sde":
        model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
        found = model.encode([pair.document for pair in trained(tmp_path / "run").task.pairs.held_out])
        torch.testing.assert_close(torch.from_numpy(found), mine, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="is not empty, and nothing is overwritten"):
        export(tmp_path / "run", tmp_path / "out")


def test_real_weights_come_from_their_package(tmp_path):
    folder = pretrained_folder("sentence-transformers/all-MiniLM-L6-v2")
    assert folder == pretrained_folder("all-MiniLM-L6-v2")
    encoder, model = pretrained_encoder(folder, 64).eval(), SentenceTransformer(str(folder), device="cpu")
    texts = ["A cat sat on the mat.", "The feline rested.", "Interest rates rose."]
    tokens = model.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
    found = torch.nn.functional.normalize(mean(hidden, tokens["attention_mask"].bool()), dim=-1)
    torch.testing.assert_close(found, model.encode(texts, convert_to_tensor=True), rtol=1e-4, atol=1e-5)
    assert found[0] @ found[1] > 0.4 > 0.2 > found[0] @ found[2]


def test_real_weights_are_trained_and_exported(tmp_path):
    run(tmp_path, "model.pretrained=all-MiniLM-L6-v2", "task.trigrams=null", "run.steps=1", "run.log_every=1")
    export(tmp_path / "run", tmp_path / "out")
    for mine, theirs in zip(*compared(tmp_path), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-5)


def test_an_encoder_of_several_tasks_embeds_the_same_with_prompts_and_prefixes(tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["system=gemini_embedding", "+tiny=gemini_embedding", "device=cpu", f"run.dir={tmp_path / 'run'}"]
        train(compose("train", fixed))
    assert "truncate_dim=4" in export(tmp_path / "run", tmp_path / "out")
    task = trained(tmp_path / "run").task
    queries = task.held_out[1].queries
    mine = embed(task.model.tower, task.judgings()["kind"].queries, task.world)
    prompted = ["kind: " + query for query in queries]
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    torch.testing.assert_close(model.encode(prompted, convert_to_tensor=True), mine, rtol=1e-4, atol=1e-5)
    short = SentenceTransformer(str(tmp_path / "out"), device="cpu", truncate_dim=4)
    found = short.encode(prompted, convert_to_tensor=True, normalize_embeddings=True)
    torch.testing.assert_close(found, torch.nn.functional.normalize(mine[:, :4], dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("structure", "beam"), [("product", 1), ("residual", 3), ("bits", 1)])
def test_codes_are_served_the_same_in_sentence_transformers(structure, beam, tmp_path):
    sizes = ["model.categories=2", "model.latent=bernoulli"] if structure == "bits" else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["system=codes", "+tiny=codes", "device=cpu", f"run.dir={tmp_path / 'run'}", f"data.cache={tmp_path}"]
        fixed += ["task.encoder=all-MiniLM-L6-v2", f"model.structure={structure}", f"task.beam={beam}", "run.steps=2"]
        train(compose("train", [*fixed, *sizes]))
    said = export(tmp_path / "run", tmp_path / "out")
    assert "trust_remote_code=True" in said
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    assert type(model[-1]).__module__.startswith("transformers_modules")  # its source is the exported one
    model.save_pretrained(str(tmp_path / "again"))
    model = SentenceTransformer(str(tmp_path / "again"), device="cpu", trust_remote_code=True)
    assert "again" in type(model[-1]).__module__
    task = trained(tmp_path / "run").task
    codes, ids = task.model.codes, task.model.codes.encode(task.documents, beam)
    features = model.encode_document(task.judged.documents, output_value=None)
    assert torch.equal(torch.stack([each["codes"] for each in features]), ids)
    decoded = torch.nn.functional.normalize(codes.decode(ids), dim=-1).detach()
    found = torch.stack([each["sentence_embedding"] for each in features])
    torch.testing.assert_close(found, decoded, rtol=1e-4, atol=1e-5)
    asked = torch.nn.functional.normalize(codes.project(task.queries), dim=-1)
    queries = model.encode_query(task.judged.queries, convert_to_tensor=True)
    torch.testing.assert_close(queries, asked, rtol=1e-4, atol=1e-5)


def test_embeddings_are_those_of_sentence_transformers_and_made_once(tmp_path, monkeypatch):
    texts = ["A cat sat on the mat.", "Interest rates rose, and then they fell again.", "mat"]
    frozen = Frozen("all-MiniLM-L6-v2", 8, str(tmp_path))
    model = SentenceTransformer(str(pretrained_folder("all-MiniLM-L6-v2")), device="cpu")
    model.max_seq_length = 8
    found = frozen.embed(texts, progress=False)
    torch.testing.assert_close(found, model.encode(texts, convert_to_tensor=True), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("experiments.parts.embeddings._embedded", None)
    assert torch.equal(frozen.embed(texts, progress=False), found)
