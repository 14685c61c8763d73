"""Estimators and their slots are values: nothing about them is assigned to, and changed ones are made anew."""

import copy
import dataclasses
import pickle

import pytest
import torch
from catalogue import every, make

import discretegrad as dg


def parts(value):
    """An estimator, its slots, and theirs, but for modules, which are changed by learning."""
    if isinstance(value, torch.nn.Module):
        return []
    fields = (
        [getattr(value, field.name) for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    )
    nested = [one for field in fields for one in (field if isinstance(field, tuple) else (field,))]
    return ([value] if fields or type(value).__module__.startswith("discretegrad") else []) + [
        part for one in nested for part in parts(one)
    ]


@pytest.mark.parametrize(("name", "latent"), every())
def test_every_assignment_is_refused_with_the_way_to_change(name, latent):
    """Of what an estimator or a slot was made from, of its fields, and of a name of nothing."""
    estimator = make(name, latent)
    for part in parts(estimator):
        names = {"anything", *getattr(part, "made_from", ()), *vars(part)}
        for attribute in names:
            before = getattr(part, attribute, None)
            with pytest.raises(AttributeError, match=rf"`estimator = estimator.replace\({attribute}=8\)`"):
                setattr(part, attribute, 8)
            with pytest.raises(AttributeError, match="cannot be changed"):
                delattr(part, attribute)
            assert getattr(part, attribute, None) is before


@pytest.mark.parametrize(("name", "latent"), every())
def test_a_replaced_estimator_is_made_from_the_other_arguments(name, latent):
    estimator = make(name, latent)
    if type(estimator) is not dg.Composition:
        for argument, value in estimator.made_from.items():
            assert (
                argument in vars(estimator)
                or argument in vars(type(estimator))
                or getattr(estimator, argument) is value
            )
    same = estimator.replace()
    assert type(same) is type(estimator)
    assert same == estimator
    assert same is not estimator
    assert all(one is other for one, other in zip(same.learners, estimator.learners, strict=True))
    for size in ("num_samples", "num_pairs", "k"):
        if size in estimator.made_from:
            more = estimator.replace(**{size: 5})
            assert getattr(more, size) == 5
            assert more.evaluations != estimator.evaluations
            assert all(one is other for one, other in zip(more.learners, estimator.learners, strict=True))
            assert more.replace(**{size: estimator.made_from[size]}) == estimator
    with pytest.raises(TypeError, match="is not made from colour; its arguments are"):
        estimator.replace(colour=3)


@pytest.mark.parametrize(("name", "latent"), every())
def test_copies_are_made_from_what_the_original_was(name, latent):
    if "quadratic" in name or "relax" in name:
        pytest.skip("modules of the tests that are no values")
    estimator = make(name, latent)
    for copied in (copy.copy(estimator), copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        assert repr(copied) == repr(estimator)
        assert repr(copied.replace()) == repr(estimator)
        assert all(one is other for one, other in zip(copied.replace().learners, copied.learners, strict=True))


def test_a_module_that_is_made_from_a_changed_argument_is_made_anew():
    estimator = dg.REBAR(0.5, learn=True)
    assert estimator.replace(num_samples=2, temperature=0.5).learners == estimator.learners
    other = estimator.replace(temperature=0.25)
    assert other.learners != estimator.learners
    assert float(other.learners[0].temperature.detach()) == pytest.approx(0.25)


def test_a_subclass_with_arguments_of_its_own_is_replaced_by_them():
    class Pairs(dg.Composition):
        def __init__(self, pairs, *, order=None):
            super().__init__(dg.Tree(order=order, num_pairs=pairs), dg.RaoBlackwell())

    estimator = Pairs(2).replace(order="ascending")
    assert (estimator.pairs, estimator.order, estimator.evaluations) == (2, "ascending", 4)
    with pytest.raises(AttributeError, match=r"replace\(pairs=3\)"):
        estimator.pairs = 3
    with pytest.raises(AttributeError, match="Pairs has no attribute 'colour'"):
        estimator.colour  # noqa: B018


def test_arguments_that_are_handed_on_are_replaced_too():
    class Many(dg.RLOO):
        def __init__(self, **options):
            super().__init__(**{"num_samples": 4, **options})

    estimator = Many(latent="bernoulli")
    assert (estimator.latent, estimator.evaluations) == ("bernoulli", 4)
    assert estimator.replace(latent="categorical") == Many()
