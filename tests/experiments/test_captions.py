"""Captions: what is measured is what its formula says, on drawings with known answers."""

import math

import pytest
import torch

from experiments.data import digits
from experiments.data.captions import Captions, measure
from experiments.errors import UserError

SHAPE = (20, 24)


def drawing(rows):
    """An image of rows `(y, first x, length)` of ink."""
    image = torch.zeros(SHAPE)
    for y, x, length in rows:
        image[y, x : x + length] = 1
    return image.flatten().unsqueeze(0)


@pytest.mark.parametrize(("width", "length"), [(1, 9), (2, 8), (3, 12)])
def test_thickness_is_area_over_half_the_perimeter(width, length):
    """Of a rectangle w L / (w + L), but for the one corner at which both differences are of the same pixel."""
    perimeter = 2 * (width + length) - 2 + math.sqrt(2)
    upright = drawing([(y, 7, width) for y in range(4, 4 + length)])
    lying = drawing([(y, 7, length) for y in range(4, 4 + width)])
    for image in (upright, lying):
        assert float(measure(image, SHAPE)[0, 0]) == pytest.approx(2 * width * length / perimeter, rel=1e-12)


@pytest.mark.parametrize("grey", [1.0, 0.3])
def test_size_is_the_root_mean_square_distance_from_the_centre(grey):
    image = grey * drawing([(2, 3, 1), (2, 9, 1), (10, 3, 1), (10, 9, 1)])
    assert float(measure(image, SHAPE)[0, 1]) == pytest.approx(5, rel=1e-12)  # 3 across, 4 down


@pytest.mark.parametrize("shear", [-2, -1, 0, 1, 2])
def test_slant_is_the_shear_of_an_upright_drawing(shear):
    """Every row shifted by so many columns for each row upwards; positive is to the right."""
    height = 5
    image = drawing([(4 + y, 10 - shear * (y - 2), 3) for y in range(height)])
    assert float(measure(image, SHAPE)[0, 2]) == pytest.approx(shear, abs=1e-12)


def test_a_place_in_the_image_changes_nothing():
    one = drawing([(3, 4, 5), (4, 6, 2), (5, 7, 1)])
    other = drawing([(9, 11, 5), (10, 13, 2), (11, 14, 1)])
    torch.testing.assert_close(measure(one, SHAPE), measure(other, SHAPE), rtol=1e-12, atol=1e-12)


def test_nothing_is_measured_of_nothing():
    """And of a single row there is no slant."""
    assert measure(torch.zeros(1, 480), SHAPE).tolist() == [[0.0, 0.0, 0.0]]
    assert float(measure(drawing([(3, 4, 9)]), SHAPE)[0, 2]) == 0


def test_words_are_thirds_of_the_training_images_and_the_label():
    images = digits(labels=True)
    captions = Captions.fitted(images)
    found = captions.of(images.train, images.shape, images.labels.train)
    assert found.shape == (1500, 4)
    for slot in range(3):
        counts = (found[:, slot] - captions.firsts[slot]).bincount(minlength=3)
        assert counts.tolist() == [500, 500, 500]
    assert torch.equal(found[:, 3] - captions.firsts[3], images.labels.train)
    thickest = int(measure(images.train, images.shape)[:, 0].argmax())
    words = captions.text(found[thickest]).split()
    assert words[0] == "thick"
    assert words[-1] == captions.classes[int(images.labels.train[thickest])]


def test_images_without_labels_are_refused():
    with pytest.raises(UserError, match=r"captions need labels.*give data\.labels=true"):
        Captions.fitted(digits())
