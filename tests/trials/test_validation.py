"""Which families train and which score: kept apart over all sets, families and folds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import law
from trials.data.families.table import FAMILIES
from trials.validation import FoldModel, Validation, families_of, fold_models, parts

names = st.sampled_from([tuple(FAMILIES["image"]), tuple("abcdefghijk"), tuple("abcd"), tuple("ab")])


@st.composite
def sets(draw):
    """(families that a trial trains on, all families, folds)"""
    families = draw(names)
    trained = draw(st.sets(st.sampled_from(families)))
    return tuple(one for one in families if one in trained), families, draw(st.integers(2, len(families)))


@given(sets())
@law
def test_families_of_training_and_validation_never_overlap(given_):
    trained, families, folds = given_
    models = fold_models(trained, families, folds)
    scored = [family for model in models for family in model.scored]
    assert sorted(scored) == sorted(trained)  # each once; the trial's own row scores the others
    for model in models:
        assert not {*model.scored} & {*model.trained}
        assert {*model.scored} | {*model.trained} == {*trained}


@given(sets())
@law
def test_there_are_as_many_fold_models_as_folds_at_most_and_two_where_there_can_be(given_):
    trained, families, folds = given_
    count = len(fold_models(trained, families, folds))
    assert count <= folds
    assert count >= min(2, len(trained))


@given(names.flatmap(lambda one: st.tuples(st.just(one), st.integers(1, len(one)))))
@law
def test_parts_are_runs_of_nearly_equal_length(given_):
    families, count = given_
    found = parts(families, count)
    assert [one for part in found for one in part] == list(families)
    assert {len(part) for part in found} <= {len(families) // count, len(families) // count + 1}


def test_the_two_folds_of_images_are_those_of_the_paper_with_morphology_beside_geometry():
    families = (
        *("arithmetic", "artistic", "blur", "color", "contrast"),
        *("convolutional", "edges", "geometric", "morphology", "segmentation", "weather"),
    )
    assert [model.scored for model in fold_models(families, families, 2)] == [families[:5], families[5:]]


def test_a_model_that_would_be_scored_on_what_it_trains_on_cannot_be_made():
    with pytest.raises(ValueError, match="scored on 'blur', which it trains on"):
        FoldModel(("blur", "edges"), ("blur",))


def test_families_that_lie_in_one_fold_are_divided_among_themselves():
    assert fold_models(("a", "b"), tuple("abcdef"), 2) == (
        FoldModel(("b",), ("a",)),
        FoldModel(("a",), ("b",)),
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("blurr", "unknown family 'blurr'; did you mean 'blur'"),
        ("blur+blur", "names 'blur' twice"),
        ("", "unknown family ''"),
        (3, "must be 'none', 'all' or families joined by"),
        (True, "must be 'none', 'all' or families joined by"),
    ],
)
def test_what_names_no_families_is_refused(value, said):
    with pytest.raises(ValueError, match=said):
        families_of(value, ("blur", "edges"))


def test_all_and_none_and_names_in_any_order():
    known = ("blur", "edges", "weather")
    assert families_of("all", known) == known
    assert families_of("none", known) == ()
    assert families_of("weather + blur", known) == ("blur", "weather")


def test_a_validation_survives_json():
    import json
    from dataclasses import asdict

    one = Validation("shifted-kfold", ("blur", "edges"), 2, "all", 7, trained=("all",))
    assert Validation.read(json.loads(json.dumps(asdict(one)))) == one
    assert Validation.read({}) == Validation()
