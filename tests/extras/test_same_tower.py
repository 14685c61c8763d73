"""Same-tower negatives are those of sentence-transformers' ranking loss, on the same batch."""

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from experiments.parts.contrastive import in_batch_softmax


@pytest.mark.parametrize("same_tower", [False, True])
def test_the_loss_is_the_mean_of_their_losses_of_queries_and_of_documents(same_tower):
    directions = ("query_to_doc", "query_to_query") if same_tower else ("query_to_doc",)
    theirs = MultipleNegativesRankingLoss(torch.nn.Identity(), scale=1 / 0.07, directions=directions)
    vectors = torch.randn(2, 9, 5, dtype=torch.float64, requires_grad=True)
    queries, documents = torch.nn.functional.normalize(vectors, dim=-1)
    both = [theirs.compute_loss_from_embeddings(each, None) for each in ([queries, documents], [documents, queries])]
    expected = (both[0] + both[1]) / 2
    found = in_batch_softmax(queries, documents, torch.zeros(9, 9).bool(), 0.07, same_tower=same_tower).mean()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    gradients = [torch.autograd.grad(loss, vectors, retain_graph=True)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)
