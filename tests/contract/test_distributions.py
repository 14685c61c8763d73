"""Distributions with a path are torch's own where those are right; estimators take either in the place of logits."""

import copy

import pytest
import torch
from catalogue import every, make
from torch.distributions import Independent, kl_divergence

import discretegrad as dg

PATHS = [(n, k) for n, k in every() if isinstance(make(n, k), dg.Pathwise) and make(n, k).num_samples == 1]
OURS = {"categorical": dg.distributions.OneHotCategorical, "bernoulli": dg.distributions.Bernoulli}
THEIRS = {"categorical": torch.distributions.OneHotCategorical, "bernoulli": torch.distributions.Bernoulli}
BOTH = ["categorical", "bernoulli"]


def logits_of(latent, *batch):
    return torch.randn(
        (*batch, 3) if latent == "bernoulli" else (*batch, 3, 4), dtype=torch.float64, requires_grad=True
    )


@pytest.mark.parametrize(("name", "latent"), PATHS)
def test_rsample_goes_by_the_path(name, latent):
    """The points and gradients are those of the estimator; every sample has noise of its own."""
    path, logits = make(name, latent), logits_of(latent, 2)
    q = OURS[latent](logits=logits, path=path, validate_args=True)  # torch.compile turns torch's default off
    torch.manual_seed(3)
    points = q.rsample((5,))
    torch.manual_seed(3)
    expected = path.sample(q.logits.expand(5, *logits.shape)).points[0]
    assert torch.equal(points, expected)
    assert torch.equal(points[0], points[1]) == name.startswith("argmax")  # which draws nothing
    weight = torch.randn_like(points)
    got, wanted = (torch.autograd.grad((p * weight).sum(), logits, retain_graph=True)[0] for p in (points, expected))
    torch.testing.assert_close(got, wanted)
    assert got.abs().sum() > 0
    assert q.log_prob(points).shape == (5, *q.batch_shape)  # validated: the points are in the support
    assert q.has_rsample


@pytest.mark.parametrize("path", ["straight_through", "gumbel_softmax", "gumbel_rao", "gapped_st", "reinmax"])
def test_the_sum_of_a_sample_has_no_gradient(path):
    """It is always 1. A one-hot that is copied over the data of a relaxed sample changes that, unseen by autograd."""
    logits = logits_of("categorical", 100)
    points = dg.distributions.OneHotCategorical(logits=logits, path=path).rsample()
    (along,) = torch.autograd.grad(points[..., 0].sum(), logits, retain_graph=True)
    (of_sum,) = torch.autograd.grad(points.sum(), logits)
    assert of_sum.abs().max() < 1e-12 < along.abs().max()


@pytest.mark.parametrize("latent", BOTH)
def test_a_path_has_a_name(latent):
    paths = ("straight_through", "gumbel_softmax", "gumbel_rao", "gapped_st", "imle")
    for name in (*paths, "reinmax", "reinmax_rao", "relaxed_reinmax"):
        q = OURS[latent](logits=logits_of(latent), path=name)
        assert type(q.path) is dg.ESTIMATORS[name]
        assert q.rsample().requires_grad


@pytest.mark.parametrize("given", ["logits", "probs"])
@pytest.mark.parametrize("latent", BOTH)
def test_it_is_its_namesake(latent, given):
    logits = logits_of(latent, 2)
    probs = logits.sigmoid() if latent == "bernoulli" else logits.softmax(-1)
    argument = {given: logits if given == "logits" else probs}
    ours, theirs = OURS[latent](**argument, validate_args=True), THEIRS[latent](**argument)
    assert isinstance(ours, THEIRS[latent])
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    torch.manual_seed(0)
    points = ours.sample((6,))
    torch.manual_seed(0)
    assert torch.equal(points, theirs.sample((6,)))
    assert not points.requires_grad
    for one, other in (
        (ours.log_prob(points), theirs.log_prob(points)),
        (ours.entropy(), theirs.entropy()),
        (ours.mode, theirs.mode),
        (ours.deterministic_sample, theirs.mode),
        (ours.mean, theirs.mean),
        (ours.variance, theirs.variance),
        (ours.probs, theirs.probs),
        (ours.enumerate_support(), theirs.enumerate_support()),
    ):
        torch.testing.assert_close(one, other)
    (got,), (wanted,) = (torch.autograd.grad(q.entropy().sum(), logits, retain_graph=True) for q in (ours, theirs))
    torch.testing.assert_close(got, wanted)
    expanded = ours.expand((5, *ours.batch_shape))
    assert type(expanded) is type(ours)
    assert expanded.path is ours.path
    assert expanded.rsample((2,)).shape == (2, 5, *logits.shape)
    torch.testing.assert_close(expanded.logits, ours.logits.expand(5, *logits.shape))
    joint = Independent(ours, len(ours.batch_shape) - 1)
    torch.testing.assert_close(joint.log_prob(points), theirs.log_prob(points).flatten(2).sum(-1))
    assert joint.rsample().requires_grad


@pytest.mark.parametrize("latent", BOTH)
def test_divergences_are_registered(latent):
    first, second = logits_of(latent, 2), logits_of(latent)
    p, q = THEIRS[latent](logits=first), THEIRS[latent](logits=second.expand_as(first))
    expected = kl_divergence(p, q)
    (wanted,) = torch.autograd.grad(expected.sum(), first)
    ours = OURS[latent]
    for one, other in (
        (ours(logits=first), ours(logits=second.expand_as(first))),
        (ours(logits=first), q),
        (THEIRS[latent](logits=first), ours(logits=second.expand_as(first))),
    ):
        got = kl_divergence(one, other)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(torch.autograd.grad(got.sum(), first)[0], wanted)
    joint = kl_divergence(Independent(ours(logits=first), 1), Independent(ours(logits=second.expand_as(first)), 1))
    torch.testing.assert_close(joint, expected.sum(-1))


@pytest.mark.parametrize("given", ["logits", "probs"])
def test_what_is_forbidden_stays_forbidden_and_leaves_finite_gradients(given):
    """torch's own give NaN gradients of the divergence, and allow a little of what has probability 0."""
    leaf = torch.tensor([[0.2, 0.8, 0.0], [0.5, 0.25, 0.25]], dtype=torch.float64, requires_grad=True)
    own = leaf.log().detach().requires_grad_() if given == "logits" else leaf
    q = OURS["categorical"](**{given: own})
    assert q.logits[0, 2] == -torch.inf
    loss = q.entropy().sum() + kl_divergence(q, q.expand(q.batch_shape)).sum()
    loss = loss + q.rsample((20,))[..., 0].sum() + q.log_prob(q.sample((20,))).sum()
    (gradient,) = torch.autograd.grad(loss, own)
    assert gradient.isfinite().all()
    assert q.log_prob(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64))[0] < -1e300
    assert (dg.RLOO(64).sample(torch.distributions.Categorical(probs=leaf)).indices[:, 0] < 2).all()
    bits = OURS["bernoulli"](probs=torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, requires_grad=True))
    assert bits.logits.tolist() == [-torch.inf, 0.0, torch.inf]
    assert bits.mode.tolist() == [0.0, 0.0, 1.0]
    entropy = bits.entropy()
    torch.testing.assert_close(entropy, torch.tensor([0.0, 2.0, 0.0]).double().clamp_min(1).log())
    assert torch.autograd.grad(entropy.sum() + bits.rsample().sum(), bits.probs)[0].isfinite().all()


def test_log_prob_is_linear_in_points_so_what_they_carry_is_not_lost():
    logits = torch.randn(5, 4, requires_grad=True)
    prior = OURS["categorical"](logits=torch.randn(4))
    points = OURS["categorical"](logits=logits, path="straight_through").rsample()
    (got,) = torch.autograd.grad(prior.log_prob(points).sum(), logits)
    soft = logits.softmax(-1)
    (wanted,) = torch.autograd.grad((soft * prior.logits).sum(), logits)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize(("name", "latent"), every())
def test_estimators_take_distributions_where_logits_are_wanted(name, latent):
    """By logits or by probabilities, ours or torch's, alone or independent: the same draw, the same gradient."""
    logits = logits_of(latent, 2)
    if latent == "categorical":  # as torch normalises them, which an order by their size would see
        logits = logits.detach().log_softmax(-1).requires_grad_()
        given = [torch.distributions.Categorical(probs=logits.softmax(-1))]
    else:
        given = [THEIRS[latent](probs=logits.sigmoid())]
    given += [logits, OURS[latent](logits=logits), Independent(THEIRS[latent](logits=logits), 1)]
    weight = torch.randn_like(logits)
    results = []
    for one in given:
        estimator = copy.deepcopy(make(name, latent, 4))
        loss = estimator(lambda p: (p * weight).flatten(2).sum(-1).sin(), one, torch.Generator().manual_seed(0))
        results.append((loss.detach(), *torch.autograd.grad(loss.sum(), logits, retain_graph=True)))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-7, atol=1e-9)


def test_functional_forms_the_layer_and_expectation_take_distributions():
    logits = logits_of("categorical", 2)
    q = torch.distributions.Categorical(logits=logits)
    ids = q.sample((2,))
    values = ids.double().sum(-1)
    for one in (logits, q):
        loss = dg.functional.rloo(one, ids, values)
        assert loss.requires_grad
    torch.testing.assert_close(*(dg.functional.rloo(one, ids, values) for one in (logits, q)))
    layer = dg.nn.DiscreteLatent("reinmax")
    z = layer(q)
    torch.testing.assert_close(z.kl(prior=THEIRS["categorical"](logits=torch.zeros(3, 4))), z.kl())
    assert dg.expectation(lambda p: p[..., 0].sum(-1), q, "rloo").requires_grad


def test_it_has_what_a_policy_module_asks_of_a_distribution_class():
    """Made of keyword arguments, its mode or a sample by its kind of interaction, and the log-probability of either."""
    kind, keywords = dg.distributions.OneHotCategorical, {"path": "reinmax"}
    parameters = {"logits": torch.randn(5, 4, requires_grad=True)}
    q = kind(**parameters, **keywords)
    action = q.rsample() if q.has_rsample else q.sample()
    log_prob = q.log_prob(action.detach())
    assert action.shape == (5, 4)
    assert log_prob.shape == (5,)
    (log_prob.sum() + action[..., 0].sum() + q.entropy().sum()).backward()
    assert parameters["logits"].grad.isfinite().all()
    assert torch.equal(q.deterministic_sample, q.mode)


def test_torchrl_takes_it():
    """As the distribution class of a policy, for samples that carry a gradient and for the mode."""
    tensordict = pytest.importorskip("tensordict")
    modules = pytest.importorskip("tensordict.nn")
    network = modules.TensorDictModule(torch.nn.Linear(3, 4), in_keys=["observation"], out_keys=["logits"])
    draw = modules.ProbabilisticTensorDictModule(
        in_keys=["logits"],
        out_keys=["action"],
        distribution_class=dg.distributions.OneHotCategorical,
        distribution_kwargs={"path": "reinmax"},
        return_log_prob=True,
        default_interaction_type=modules.InteractionType.RANDOM,
    )
    policy = modules.ProbabilisticTensorDictSequential(network, draw)
    found = policy(tensordict.TensorDict({"observation": torch.randn(5, 3)}, [5]))
    assert found["action_log_prob"].shape == (5,)
    found["action"][..., 0].sum().backward()
    assert network.module.weight.grad.abs().sum() > 0
    with modules.set_interaction_type(modules.InteractionType.DETERMINISTIC):
        found = policy(found)
    assert torch.equal(found["action"].argmax(-1), found["logits"].argmax(-1))


def test_pyro_takes_it_with_its_mixin():
    pyro = pytest.importorskip("pyro")

    class OneHot(dg.distributions.OneHotCategorical, pyro.distributions.torch_distribution.TorchDistributionMixin):
        pass

    logits = torch.zeros(5, 4, requires_grad=True)

    def model():
        with pyro.plate("batch", 5):
            return pyro.sample("z", OneHot(logits=logits, path="reinmax"))

    trace = pyro.poutine.trace(model).get_trace()
    assert trace.nodes["z"]["value"].requires_grad
    trace.log_prob_sum().backward()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: OURS["categorical"](logits=torch.zeros(3), path="rloo"), "points of RLOO carry no gradient"),
        (lambda: OURS["bernoulli"](logits=torch.zeros(3), path=dg.ReinMax()), "make it with latent='bernoulli'"),
        (lambda: OURS["categorical"](logits=torch.zeros(3), path=dg.ReinMax(num_samples=2)), "num_samples=1"),
        (lambda: OURS["categorical"](logits=torch.zeros(3), path="rein"), "no estimator is called 'rein'"),
        (lambda: OURS["categorical"](), "Either `probs` or `logits`"),
        (lambda: OURS["categorical"](probs=torch.tensor([-1.0, 3.0]), validate_args=True), "probs"),
        (
            lambda: OURS["categorical"](logits=torch.zeros(3), validate_args=True).log_prob(torch.ones(3)),
            "within the support",
        ),
        (lambda: dg.RLOO().sample(OURS["bernoulli"](logits=torch.zeros(3))), "Bernoulli has no logits of categorical"),
        (lambda: dg.RLOO().sample(torch.distributions.Normal(0.0, 1.0)), "Normal has no logits of categorical latents"),
        (
            lambda: dg.DisARM().sample(torch.distributions.Categorical(logits=torch.zeros(3))),
            "give Bernoulli, or choose",
        ),
    ],
)
def test_bad_input_is_refused(call, match):
    with pytest.raises((TypeError, ValueError), match=match):
        call()
