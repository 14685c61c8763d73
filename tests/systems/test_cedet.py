"""CEDet: boxes as numbers and back, graphs by hand, the gradient of edges by enumeration, what is judged."""

import itertools
import math

import pytest
import torch
from test_every_system import configure

import discretegrad as dg
from experiments.data.aerial import Scene, Thing
from experiments.errors import UserError
from experiments.parts.boxes import corners
from experiments.parts.detections import Detections, Judged
from experiments.parts.overlaps import intersection_over_union
from experiments.systems.cedet.cascade import Wanted
from experiments.systems.cedet.coding import DELTAS, absolute, inside, located, moved, relative
from experiments.systems.cedet.estimation import missed
from experiments.systems.cedet.graphs import adjacency, geometry, nearest, normalised, pairs, possible
from experiments.systems.cedet.judging import Edges, through_windows
from experiments.systems.cedet.model import Found
from experiments.systems.cedet.scenes import Buildings, Stock
from experiments.train import build

GRAPHS = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)
"""All of three proposals."""


def boxes(count, seed=0, size=40.0):
    drawn = torch.rand(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn * torch.tensor([size, size, 12, 12, 6.0]) + torch.tensor([0, 0, 3, 3, -3.0])


def same(found, expected):
    """Whether boxes are the same rectangles, by whichever of their four names."""
    pairs = zip(found.unsqueeze(1), expected.unsqueeze(1), strict=True)
    return min(float(intersection_over_union(*pair)) for pair in pairs) > 1 - 1e-9


def test_a_box_is_found_from_another_one():
    own, other = boxes(200), boxes(200, seed=1)
    deltas = relative(own, other)
    assert (deltas[:, 4].abs() * DELTAS[4] <= math.pi / 4 + 1e-9).all()
    near = (deltas[:, 2:4].abs() * DELTAS[2] <= 1).all(-1)  # sides change by at most a factor of e
    assert near.sum() > 100 and same(moved(own, deltas)[near], other[near])


def test_a_box_is_found_from_a_place():
    own, places = boxes(200), boxes(200, seed=1)[:, :2]
    found = located(places, 4.0, absolute(places, 4.0, own))
    assert same(found, own) and (found[:, 4].abs() <= math.pi / 4 + 1e-9).all()


def test_numbers_of_a_box_have_no_jumps():
    """All the way round, also where sides change their names."""
    turns = torch.linspace(0, 2 * math.pi, 2000, dtype=torch.float64)
    still = torch.tensor([5.0, 5, 9, 4, 0]).double().repeat(2000, 1)
    still[:, 4] = turns
    fields = absolute(torch.zeros(2000, 2).double(), 4.0, still)
    assert (fields[1:] - fields[:-1]).abs().max() < 0.05
    torch.testing.assert_close(fields[0], fields[-1], rtol=0, atol=1e-9)
    other = torch.stack([still[:, 0], still[:, 1], still[:, 3], still[:, 2], still[:, 4] + math.pi / 2], -1)
    torch.testing.assert_close(absolute(torch.zeros(2000, 2).double(), 4.0, other), fields, rtol=0, atol=1e-9)


def test_places_are_inside_as_polygons_have_it():
    own, places = boxes(20), boxes(300, seed=3)[:, :2]
    found = inside(places, own)
    for box, row in zip(corners(own), found, strict=True):
        sides = box.roll(-1, 0) - box
        away = places[:, None] - box
        assert torch.equal(row, (sides[:, 0] * away[..., 1] - sides[:, 1] * away[..., 0] >= 0).all(-1))
    assert 10 < found.sum() < 2000


def test_graphs_by_hand():
    edges = torch.tensor([1.0, 0, 1, 0, 0, 0])  # 0-1 and 0-3 of four
    matrix = adjacency(edges, 4)
    assert matrix.tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    mean = normalised(matrix, "mean")
    torch.testing.assert_close(mean[0], torch.tensor([1.0, 1, 0, 1]) / 3)
    torch.testing.assert_close(mean.sum(-1), torch.ones(4))
    symmetric = normalised(matrix, "symmetric")
    torch.testing.assert_close(symmetric[0], torch.tensor([1 / 3, 6**-0.5, 0, 6**-0.5]))
    torch.testing.assert_close(symmetric, symmetric.mT)
    row = torch.tensor([[[0.0, 0], [1, 0], [3, 0], [50, 0]]])
    places = torch.cat([row, torch.ones(1, 4, 3)], -1)
    present = torch.tensor([[True, True, True, False]])
    assert possible(present).tolist() == [[True, True, False, True, False, False]]
    assert nearest(places, present, 1).tolist() == [[1, 0, 0, 1, 0, 0]]  # 2's nearest is 1, whose own is 0
    assert nearest(places, present, 9).tolist() == [[1, 1, 0, 1, 0, 0]]


def test_how_boxes_lie_to_each_other_depends_on_nothing_else():
    """Not on where the image begins or how it is turned, nor on which of its four names a box has."""
    own = boxes(6)[None]
    found = geometry(own)
    turn = 0.9
    rotation = torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]).double()
    carried = torch.cat([own[..., :2] @ rotation + 100, own[..., 2:4], own[..., 4:] + turn], -1)
    apart = ~torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(geometry(carried)[:, apart], found[:, apart], rtol=1e-6, atol=1e-5)
    renamed = torch.stack([own[..., 0], own[..., 1], own[..., 3], own[..., 2], own[..., 4] - math.pi / 2], -1)
    torch.testing.assert_close(geometry(renamed), found, rtol=1e-6, atol=1e-5)


def small(folder, *overrides, seed=1):
    """A task of three proposals in float64, and a batch in which they are nearly right."""
    own = ["model.graph=learned", "model.proposals=3", "model.floor=0", "run.batch=2"]
    own += ["task.price=0.3", "task.entropy=0.2", "model.edge_bias=0.0", "model.edge_reach=0.0"]
    task = build(configure("cedet", folder / "run", *own, *overrides)).task.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        for head in task.model.cascade.heads:  # boxes stay near the proposals
            for parameter in head.delta[-1].parameters():
                parameter *= 0.1
        for parameter in (task.model.edges.reach, *task.model.edges.network[-1].parameters()):  # no edge is sure
            parameter *= 0.02
    batch = task.batch(10_000)  # where the price has its height
    images = batch.images.double()
    proposed = task.model.see(images).regions.boxes[0]
    noise = 0.02 * torch.randn(proposed.shape, generator=generator, dtype=torch.float64)
    present = torch.tensor([[True, True, False], [True, False, False]])
    return task, Buildings(images, proposed * (1 + noise), present, torch.zeros(2, 3).long())


def within_reach(task, batch):
    """The same images with other true boxes: those that are found where there are no edges."""
    seen = task.model.see(batch.images)
    found, _, _ = task.model.detections(seen, task.model.judge(seen, torch.zeros(1, 2, 3).double()))
    return batch._replace(boxes=found[0])


def by_graph(task, batch):
    """The losses of all proposals in all graphs, `[8, B, N]`, and the edges' logits."""
    seen = task.model.see(batch.images)
    wanted = Wanted.of(seen.regions, batch.boxes, batch.present)
    assert 0 < wanted.labels[0].sum() < 6
    return wanted.loss(seen.regions, task.model.judge(seen, GRAPHS[:, None].expand(-1, 2, -1))), seen


@pytest.mark.parametrize("normalisation", ["mean", "symmetric"])
def test_with_means_an_edge_matters_to_its_ends_alone(tmp_path, normalisation):
    task, batch = small(tmp_path, f"model.normalisation={normalisation}", "task.credit=image")
    losses = by_graph(task, batch)[0].detach()
    first, second = pairs(3, losses.device)
    changes = []
    for node, (edge, ends) in itertools.product(range(3), enumerate(zip(first.tolist(), second.tolist(), strict=True))):
        on = GRAPHS[:, edge] == 1
        change = float((losses[on, :, node] - losses[~on, :, node]).abs().max())
        changes.append(change)
        if normalisation == "mean":
            assert (change > 1e-6) == (node in ends)
    assert normalisation == "mean" or min(changes) > 1e-9


def test_graphs_are_judged_each_by_itself(tmp_path):
    task, batch = small(tmp_path)
    losses, seen = by_graph(task, batch)
    wanted = Wanted.of(seen.regions, batch.boxes, batch.present)
    for graph, own in zip(GRAPHS, losses, strict=True):
        alone = wanted.loss(seen.regions, task.model.judge(seen, graph.expand(1, 2, -1)))[0]
        torch.testing.assert_close(alone, own, rtol=1e-10, atol=1e-12)


def mean_objective(task, batch, losses, logits):
    """E f over all graphs, summed over images, from losses `[8, B, N]`."""
    on = logits.sigmoid()
    chances = (GRAPHS[:, None] * on + (1 - GRAPHS[:, None]) * (1 - on)).prod(-1)
    entropy = -(chances * chances.log()).sum()
    return (
        chances * (losses.sum(-1) + task.edges.price * GRAPHS.sum(-1)[:, None])
    ).sum() - task.edges.entropy * entropy


def test_all_that_learns_follows_the_mean_over_all_graphs(tmp_path):
    """The whole loss of a step, by enumeration, in every parameter."""
    task, batch = small(tmp_path, "task.credit=image")
    task.edges.estimator = dg.Exact(event_dims=1, latent="bernoulli")
    learned = [p for p in task.model.parameters() if p.requires_grad]
    found = torch.autograd.grad(task(batch, torch.Generator()).loss, learned, allow_unused=True)
    losses, seen = by_graph(task, batch)
    wanted = Wanted.of(seen.regions, batch.boxes, batch.present)
    count = seen.regions.present.sum()
    assert count == 6
    own = mean_objective(task, batch, losses, seen.edges) + wanted.early_loss(seen.regions).sum()
    masks = torch.nn.functional.binary_cross_entropy_with_logits(seen.masks, task.filled(batch, seen.masks))
    expected = seen.dense.loss(batch.boxes, batch.present) + task.segmentation * masks + own / count
    wished = torch.autograd.grad(expected, learned, allow_unused=True, retain_graph=True)
    for mine, theirs in zip(found, wished, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)
    edges = torch.autograd.grad(own, [*task.model.edges.parameters()])
    assert all(gradient.abs().max() > 1e-6 for gradient in edges)


@pytest.mark.parametrize("credit", ["image", "node"])
@pytest.mark.parametrize("estimator", [dg.DisARM(), dg.RLOO(2, latent="bernoulli"), dg.ARMS(2)], ids=type)
def test_edges_have_the_gradient_of_the_mean_over_all_graphs(tmp_path, estimator, credit):
    """By enumeration of the estimator's joint law: in the mean it is that of E f, whoever edges are judged by."""
    task, batch = small(tmp_path)
    losses, seen = by_graph(task, batch)
    losses = losses.detach()
    leaf = seen.edges.detach().requires_grad_()
    task.edges.price = task.edges.entropy = 0.0  # which are added in closed form
    [expected] = torch.autograd.grad(mean_objective(task, batch, losses, leaf), leaf)
    first, second = pairs(3, leaf.device)
    place = torch.tensor([4, 2, 1], dtype=torch.float64)
    for image, edge in itertools.product(range(2), range(3)):
        own = losses[:, image, [first[edge], second[edge]]] if credit == "node" else losses[:, image]

        def f(points, own=own):
            return own.sum(-1)[(points.detach().double() @ place).round().long()]

        mean = dg.exact.moments(estimator, f, leaf[image].detach()).mean
        torch.testing.assert_close(mean[edge], expected[image, edge], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("objective", ["loss", "ap"])
@pytest.mark.parametrize("credit", ["image", "node"])
def test_a_step_gives_each_edge_what_it_is_judged_by(tmp_path, credit, objective):
    """And all else the gradient of the average of the losses; the price in closed form."""
    if (credit, objective) == ("node", "ap"):
        return
    estimator = dg.DisARM(4)
    task, batch = small(tmp_path, f"task.credit={credit}", f"task.objective={objective}", seed=2)
    task.edges.estimator = estimator
    batch = batch if objective == "loss" else within_reach(task, batch)
    seen = task.model.see(batch.images)
    wanted = Wanted.of(seen.regions, batch.boxes, batch.present)
    estimated = task.edges(task.model, seen, wanted, batch, torch.Generator().manual_seed(5))
    others = [*task.model.cascade.parameters()]
    total = estimated.losses.sum() + estimated.closed
    found = torch.autograd.grad(total, [seen.edges, *others], retain_graph=True, allow_unused=True)
    draw = estimator.sample(seen.edges.detach().requires_grad_(), torch.Generator().manual_seed(5))
    verdict = task.model.judge(seen, draw.points)
    losses = wanted.loss(seen.regions, verdict)
    own = losses.sum(-1) if objective == "loss" else missed(task.model, seen, verdict, batch)
    first, second = pairs(3, losses.device)
    columns = []
    for edge in range(3):
        values = losses[..., [first[edge], second[edge]]].sum(-1) if credit == "node" else own
        total = estimator.surrogate(draw, values.detach()).sum()
        columns.append(torch.autograd.grad(total, draw.logits, retain_graph=True)[0][:, edge])
    assert sum(float(column.abs().max()) > 1e-6 for column in columns) > 1
    chance = seen.edges.sigmoid()
    slope = task.edges.price + task.edges.entropy * seen.edges  # of an entropy: minus the logit, by the chance
    expected = torch.stack(columns, -1) + slope * chance * (1 - chance)
    torch.testing.assert_close(found[0], expected, rtol=1e-9, atol=1e-12)
    average = torch.autograd.grad(losses.sum(-1).mean(0).sum(), others, allow_unused=True)
    for mine, theirs in zip(found[1:], average, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(estimated.objective, own.mean() + task.edges.price * chance.sum(-1).mean())


def test_average_precision_of_each_graph(tmp_path):
    task, batch = small(tmp_path, seed=2)
    batch = within_reach(task, batch)
    seen = task.model.see(batch.images)
    verdict = task.model.judge(seen, GRAPHS[:, None].expand(-1, 2, -1))
    found, scores, kept = task.model.detections(seen, verdict)
    found_missed = missed(task.model, seen, verdict, batch)
    for graph, image in itertools.product(range(8), range(2)):
        own = Detections(
            found[graph, image][kept[graph, image]],
            scores[graph, image][kept[graph, image]],
            batch.boxes[image][batch.present[image]],
        )
        expected = 1 - Judged.of([own], 0.5).average_precision()
        assert float(found_missed[graph, image]) == pytest.approx(expected, abs=1e-9)
    assert len(found_missed.unique()) > 1
    nothing = batch._replace(present=torch.zeros(2, 3, dtype=torch.bool))
    assert not missed(task.model, seen, verdict, nothing).any()


def test_padding_changes_nothing(tmp_path):
    """Neither proposals that are none, nor true boxes that are none."""
    task, batch = small(tmp_path)
    task.eval()
    seen = task.model.see(batch.images)
    absent = seen.regions.present.clone()
    absent[:, 2] = False
    seen = seen._replace(regions=seen.regions._replace(present=absent))
    assert task.model.edges_of(seen)[:, 1:].sum() == 0  # both other edges end there
    wanted = Wanted.of(seen.regions, batch.boxes, batch.present)
    losses = wanted.loss(seen.regions, task.model.judge(seen, torch.ones(1, 2, 3).double()))
    assert not losses[..., 2].any() and losses[..., :2].all()
    longer = batch._replace(
        boxes=torch.cat([batch.boxes, torch.zeros(2, 4, 5).double()], 1),
        present=torch.cat([batch.present, torch.zeros(2, 4, dtype=torch.bool)], 1),
        blocks=torch.cat([batch.blocks, torch.full((2, 4), -1)], 1),
    )
    torch.testing.assert_close(
        seen.dense.loss(longer.boxes, longer.present), seen.dense.loss(batch.boxes, batch.present)
    )
    assert torch.equal(Wanted.of(seen.regions, longer.boxes, longer.present).labels, wanted.labels)
    empty = Wanted.of(seen.regions, batch.boxes[:, :0], batch.present[:, :0])
    assert not empty.labels.any() and bool(seen.dense.loss(batch.boxes[:, :0], batch.present[:, :0]).isfinite())


def test_edges_are_right_within_a_block():
    """Four proposals: two of block 1, one of block 2, one on nothing; and a second one of a building."""
    row = torch.stack([torch.tensor([20.0 * n, 0, 10, 8, 0]) for n in range(4)] + [torch.tensor([0.5, 0, 10, 8, 0])])
    truth = Buildings(torch.zeros(1, 1, 8, 8), row[None, :3], torch.ones(1, 3).bool(), torch.tensor([[1, 1, 2]]))
    regions = type("Regions", (), {"boxes": row[None, None], "present": torch.ones(1, 5).bool()})
    edges = torch.ones(1, 10)
    counts = Edges.of(Found(None, None, None, edges, regions), truth, neighbours=1)
    # Of ten pairs one is a building with itself; right are 0-1 and 4-1.
    # Five are between two buildings: 0-1, 0-2, 1-2, 4-1, 4-2.
    assert [int(each) for each in counts[:4]] == [10, 9, 5, 2]
    assert [int(each) for each in counts[8:]] == [9, 5, 2]
    assert [int(each) for each in counts[4:8]] == [4, 3, 2, 1]


KINDS = [
    dg.GumbelSoftmax(latent="bernoulli", num_samples=3),
    dg.StraightThrough(latent="bernoulli"),
    dg.RLOO(3, latent="bernoulli"),
    dg.ARMS(4),
]


@pytest.mark.parametrize("estimator", KINDS, ids=type)
def test_estimators_of_every_kind_train_edges(tmp_path, estimator):
    """The value is the mean loss at the points; those with a path go through the aggregation itself."""
    task, batch = small(tmp_path)
    task.edges.estimator = estimator
    seen = task.model.see(batch.images)
    wanted = Wanted.of(seen.regions, batch.boxes, batch.present)
    found = task.edges(task.model, seen, wanted, batch, torch.Generator().manual_seed(5))
    draw = estimator.sample(seen.edges, torch.Generator().manual_seed(5))
    losses = wanted.loss(seen.regions, task.model.judge(seen, draw.points)).sum(-1)
    torch.testing.assert_close(found.losses, losses.mean(0))
    [own] = torch.autograd.grad(found.losses.sum(), seen.edges, retain_graph=True)
    assert own.abs().amax(-1).min() > 0
    if estimator.needs_grad_f:
        [path] = torch.autograd.grad(losses.mean(0).sum(), seen.edges)
        torch.testing.assert_close(own, path)


def test_the_price_rises_to_its_height(tmp_path):
    task, batch = small(tmp_path, "task.price_steps=4")
    closed = []
    for step in (0, 1, 3, 4, 9):
        task.batch(step)
        seen = task.model.see(batch.images)
        wanted = Wanted.of(seen.regions, batch.boxes, batch.present)
        task.edges.entropy = 0.0
        found = task.edges(task.model, seen, wanted, batch, torch.Generator().manual_seed(0))
        closed.append(float(found.closed.detach() / (seen.edges.sigmoid().sum().detach() * task.edges.price)))
    assert closed == pytest.approx([0.25, 0.5, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["task.price_steps=0"], "task.price_steps must be an integer"),
        (["task.objective=recall"], "task.objective is one of loss, ap"),
        (["task.credit=all"], "task.credit is one of node, image"),
        (["task.price=-1"], "task.price must be a number"),
        (["task.entropy=-1"], "task.entropy must be a number"),
        (["task.objective=ap"], "give task.credit=image"),
        (["task.objective=ap", "task.credit=image", "estimator=straight_through"], "asks for values alone"),
        (["model.normalisation=symmetric"], "give task.credit=image"),
        (["model.context=false"], "task.segmentation=0"),
        (["model.graph=some"], "model.graph is none or nearest or all or learned"),
        (["model.stages=4"], "model.stages is at most 3"),
        (["model.width=6"], "model.width must be a multiple of 4"),
        (["model.floor=1"], "model.floor must be a number"),
        (["model.backbone.model_type=bert"], "bert is no backbone"),
        (["+model.backbone.wings=2"], "model.backbone.wings is nothing that resnet has"),
        (["estimator=disarm_tree"], "for categorical latents, but these edges are bernoulli"),
        (["estimator=vimco", "estimator.latent=bernoulli"], "edges are judged by E f"),
        (["estimator=nvil", "estimator.latent=bernoulli"], "nothing moves what it learns"),
    ],
)
def test_what_does_not_fit_is_refused(overrides, match, tmp_path):
    with pytest.raises(UserError, match=match):
        build(configure("cedet", tmp_path / "run", *overrides))


class Fixed(torch.nn.Module):
    """Finds bright pixels, each as a box; of two that are one, the brighter."""

    overlap = 0.5

    def forward(self, images):
        boxes, scores = torch.zeros(len(images), 9, 5), torch.zeros(len(images), 9)
        for number, image in enumerate(images[:, 0]):
            for place, (y, x) in enumerate((image > 0.1).nonzero().tolist()):
                boxes[number, place] = torch.tensor([x + 0.5, y + 0.5, 6.0, 4.0, 0.3])
                scores[number, place] = image[y, x]
        return Found(boxes, scores, scores > 0, torch.zeros(len(images), 0), None)


def test_windows_find_everything_once():
    image = torch.zeros(1, 75, 50)
    places = [(0, 0), (74, 49), (15, 16), (16, 16), (31, 30), (50, 20), (37, 42), (60, 33)]
    for number, (y, x) in enumerate(places):
        image[0, y, x] = 0.2 + 0.1 * number
    boxes, scores = through_windows(Fixed(), image, 32)
    found = {(int(box[1]), int(box[0])): round(float(score), 4) for box, score in zip(boxes, scores, strict=True)}
    expected = {place: round(0.2 + 0.1 * number, 4) for number, place in enumerate(places) if place != (15, 16)}
    assert found == expected and len(boxes) == len(expected)


def test_buildings_whose_centres_are_on_the_image_count():
    outlines = {"building": [(10.0, 10.0), (-1.0, 10.0), (30.0, 19.5)], "tree": [(20.0, 20.0)]}
    things = [
        Thing(kind, corners(box), box, block=3)
        for kind, centres in outlines.items()
        for box in (torch.tensor([*centre, 8.0, 6.0, 0.2]) for centre in centres)
    ]
    empty = Scene(torch.zeros(1, 20, 40, dtype=torch.uint8), ())
    scene = Scene(torch.full((1, 20, 40), 255, dtype=torch.uint8), tuple(things))
    found = Stock([empty, scene]).take([1, 0], torch.device("cpu"))
    assert found.present.tolist() == [[True, True], [False, False]]
    assert found.boxes[0, :, :2].tolist() == [[10.0, 10.0], [30.0, 19.5]]
    assert found.blocks.tolist() == [[3, 3], [-1, -1]]
    assert found.images[0].min() == 1 and not found.images[1].any()
    nothing = Stock([empty]).take([0], torch.device("cpu"))
    assert nothing.boxes.shape == (1, 0, 5)
