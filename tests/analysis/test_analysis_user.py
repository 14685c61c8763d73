"""What a user would write: a module of their own, ten estimators, a table. Only the public API is imported."""

import torch
from torch import nn

import discretegrad as dg
from discretegrad import analysis


class Tagger(nn.Module):
    """A text model with a latent tag a word, whose training step takes whatever estimator it is given."""

    def __init__(self):
        super().__init__()
        self.words, self.tagger = nn.Embedding(30, 8), nn.Linear(8, 5)
        self.tags, self.reader = nn.Linear(5, 8, bias=False), nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(8, 30)

    def forward(self, text, estimator):
        logits = self.tagger(self.words(text))  # [B, T, 5]

        def f(tags):  # [S, B, T, 5]
            read, _ = self.reader(self.tags(tags).flatten(0, 1))
            log_probs = self.out(read).log_softmax(-1).unflatten(0, tags.shape[:2])
            return log_probs.gather(-1, text.expand(len(tags), *text.shape).unsqueeze(-1)).squeeze(-1).mean(-1)

        return -estimator(f, logits).mean()


TEN = {
    "REINFORCE": dg.Reinforce(2),
    "RLOO(2)": dg.RLOO(2),
    "RLOO(4)": dg.RLOO(4),
    "DisARM-Tree": dg.DisARMTree(),
    "DisARM-SB": dg.DisARMSB(),
    "DisARM-IW": dg.DisARMIW(),
    "Flow": dg.Flow(),
    "MuProp": dg.MuProp(),
    "straight-through": dg.StraightThrough(),
    "Gumbel-softmax(0.5)": dg.GumbelSoftmax(0.5),
}


def test_ten_estimators_on_a_module_of_ones_own():
    torch.manual_seed(0)
    model, text = Tagger(), torch.randint(0, 30, (4, 6))
    found = analysis.compare(lambda estimator: model(text, estimator), model, TEN, replicates=128, rounds=3)
    assert list(found.results) == list(TEN) and not found.failures
    assert found.results["RLOO(4)"].layers.keys() == dict(model.named_parameters()).keys()
    text = str(found)
    print(text)
    assert max(map(len, text.splitlines())) <= 80
    assert all(name in text for name in TEN)
    assert found.recommendation.name in TEN
    ranking = found.ranking("variance")
    assert ranking.beats("RLOO(4)", "REINFORCE")
