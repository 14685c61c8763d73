"""Average precision: by hand, and its interval."""

import itertools

import pytest
import torch

from experiments.parts.detections import Detections, Judged, matched


def image(scores, hits, missed=0):
    """Truth of width 10 in a row; a hit lies on its box, a miss beside all."""
    scores, hits = torch.tensor(scores), torch.tensor(hits, dtype=torch.bool)
    places = torch.arange(len(scores) + missed) * 20.0
    truth = torch.stack([torch.tensor([x, 0.0, 10.0, 6.0, 0.0]) for x in places]).reshape(-1, 5)
    boxes = truth[: len(scores)].clone()
    boxes[~hits, 1] += 50
    kept = torch.cat([hits, torch.ones(missed, dtype=torch.bool)])
    return Detections(boxes, scores, truth[kept])


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([image([0.9, 0.8], [1, 1])], 1.0),
        ([image([0.9, 0.8, 0.7], [1, 0, 1], missed=1)], (1 + 2 / 3) / 3),
        ([image([0.9, 0.8, 0.7], [0, 1, 1])], 2 / 3),  # at half of the recall the better precision of the whole counts
        ([image([0.9], [1]), image([0.8], [0]), image([0.7], [1])], (1 + 2 / 3) / 2),
        ([image([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0])], 1 / 4),  # of one score, all or none
        ([image([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 1])], 1 / 4),
        ([image([0.9], [0])], 0.0),
        ([image([0.9], [0], missed=2)], 0.0),
        ([Detections(torch.zeros(0, 5), torch.zeros(0), torch.ones(2, 5))], 0.0),
        ([], 0.0),
    ],
)
def test_average_precision_by_hand(images, expected):
    assert Judged.of(images, 0.5).average_precision() == pytest.approx(expected, abs=1e-12)


def test_a_box_is_hit_once_by_the_best_score():
    truth = torch.tensor([[0.0, 0, 10, 10, 0], [8.0, 0, 10, 10, 0]])
    boxes = torch.tensor([[1.0, 0, 10, 10, 0], [0.0, 0, 10, 10, 0], [7.0, 0, 10, 10, 0]])
    found = [Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), truth)]
    assert Judged.of(found, 0.5).hits.tolist() == [True, False, True]
    # The threshold is on the overlap, 9 / 11 here; a box that is as good as another takes what is left.
    assert Judged.of(found, 0.82).hits.tolist() == [False, True, False]


def test_many_images_are_matched_as_one():
    generator = torch.Generator().manual_seed(0)
    overlaps, scores = torch.rand(3, 4, 6, 5, generator=generator), torch.rand(3, 4, 6, generator=generator)
    present = torch.rand(3, 4, 6, generator=generator) > 0.3
    found = matched(overlaps, scores, 0.4, present)
    for place in itertools.product(range(3), range(4)):
        free, expected = {*range(5)}, [False] * 6
        for number in scores[place].argsort(descending=True).tolist():
            options = {truth: float(overlaps[place][number, truth]) for truth in free}
            best = max(options, key=options.get, default=None)
            if present[place][number] and best is not None and options[best] >= 0.4:
                expected[number] = True
                free.remove(best)
        assert found[place].tolist() == expected


def test_images_that_count_twice_are_there_twice():
    images = [image([0.9, 0.8], [1, 0], missed=1), image([0.85], [1]), image([0.7, 0.2], [0, 1])]
    times = torch.tensor([2, 0, 1])
    again = [images[0], images[0], images[2]]
    found = Judged.of(images, 0.5).average_precision(times)
    assert found == pytest.approx(Judged.of(again, 0.5).average_precision(), abs=1e-12)


def test_a_large_image_is_cut_up_for_its_interval_alone():
    """Ten buildings in a row, a square each, of which six are found: a mean of coins, as if they were images."""
    whole = [image([0.9] * 6, [1] * 6, missed=4)]
    cut, uncut = Judged.of(whole, 0.5, cell=20.0), Judged.of(whole, 0.5)
    assert cut.truths.tolist() == [1] * 10 and uncut.truths.tolist() == [10]
    assert cut.unit.tolist() == [*range(6)] and uncut.unit.tolist() == [0] * 6
    assert cut.average_precision() == uncut.average_precision() == pytest.approx(0.6)
    coins = Judged.of([image([0.9], [1]) if n < 6 else image([], [], missed=1) for n in range(10)], 0.5)
    assert cut.interval() == coins.interval() and uncut.interval()[1:] == (uncut.average_precision(),) * 2
    two = Judged.of(whole * 2, 0.5, cell=1e6)
    assert two.unit.tolist() == [0] * 6 + [1] * 6 and two.truths.tolist() == [10, 10]


def test_the_interval_is_that_of_samples_of_images():
    alike = Judged.of([image([0.9, 0.8], [1, 0], missed=1)] * 5, 0.5)
    same = alike.interval(samples=50)
    assert same.low == pytest.approx(same.high) == pytest.approx(same.value)
    # Images of one building each, of which so many are found, without a false alarm: a mean of coins.
    found, count = 60, 100
    coins = [image([0.9], [1]) if n < found else image([], [], missed=1) for n in range(count)]
    interval = Judged.of(coins, 0.5).interval()
    assert interval.value == pytest.approx(0.6)
    deviation = (0.6 * 0.4 / count) ** 0.5
    assert interval.low == pytest.approx(0.6 - 1.96 * deviation, abs=0.02)
    assert interval.high == pytest.approx(0.6 + 1.96 * deviation, abs=0.02)
