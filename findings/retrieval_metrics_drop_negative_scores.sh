#!/usr/bin/env bash
# torchmetrics 1.9.0, torchmetrics.retrieval: some metrics take no document with a score of 0 or less for relevant.
#
# "preds: estimated probabilities of each document to be relevant", says the documentation of all; a cosine is as good a score
# to sort by, and NDCG and hit rate take it so. Reciprocal rank, average precision and precision are 0 where the relevant
# document's cosine is negative, wherever it ranks, and say nothing. (All of them also turn scores into float32 first.)
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
venv/bin/python - <<'PY'
import torch
import torchmetrics
from torchmetrics.functional import retrieval

print(torchmetrics.__version__)
scores, relevant = torch.tensor([-0.1, -0.2, -0.3]), torch.tensor([False, True, False])  # the relevant one is second
for name, right, negative in (
    ("reciprocal_rank", 0.5, 0.0),
    ("average_precision", 0.5, 0.0),
    ("precision", 0.5, 0.0),
    ("normalized_dcg", 0.6309, 0.6309),
    ("hit_rate", 1.0, 1.0),
):
    metric = getattr(retrieval, f"retrieval_{name}")
    above, below = float(metric(scores + 1, relevant, top_k=2)), float(metric(scores, relevant, top_k=2))
    print(f"{name}: {above:.4f} for scores above 0, {below:.4f} for the same below 0")
    assert abs(above - right) < 1e-4 and abs(below - negative) < 1e-4, "another number"
PY
