"""Training and validation examples divided anew."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import law
from trials.data.divided import (
    divided,
    examples_for,
    of_fold,
    of_groups,
    of_latest,
    refuse_too_few,
)
from trials.data.stream import Stream
from trials.task import Splits
from trials.validation import Validation

seeds = st.integers(0, 2**31)


def splits(size: int = 20) -> Splits:
    """Examples that know their number, their group of four and their moment, latest first."""

    def some(low: int, high: int) -> dict[str, torch.Tensor]:
        number = torch.arange(low, high)
        return {"x": number.float()[:, None], "group": number // 4, "when": 100 - number}

    return Splits(some(0, size * 3 // 4), some(size * 3 // 4, size), some(100, 105))


def numbers(split) -> set[int]:
    return {int(one) for one in split["x"][:, 0]}


@given(size=st.integers(2, 60), folds=st.integers(2, 8), seed=seeds)
@law
def test_every_example_is_in_one_fold_and_folds_differ_by_one_at_most(size, folds, seed):
    folds = min(folds, size)
    found = [of_fold(size, fold, folds, seed) for fold in range(folds)]
    assert (np.sum(found, 0) == 1).all()
    assert max(map(np.sum, found)) - min(map(np.sum, found)) <= 1


@given(groups=st.lists(st.integers(0, 9), min_size=2, max_size=60), share=st.floats(0.05, 0.9), seed=seeds)
@law
def test_no_group_is_on_both_sides(groups, share, seed):
    groups = np.array([*groups, 10])
    chosen = of_groups(groups, round(share * len(groups)), seed)
    assert chosen.any()
    assert not chosen.all()
    assert not {*groups[chosen]} & {*groups[~chosen]}


@given(times=st.lists(st.integers(0, 9), min_size=2, max_size=60), share=st.floats(0.05, 0.9))
@law
def test_what_validates_is_later_than_all_that_trains(times, share):
    times = np.array([*times, 10])
    chosen = of_latest(times, round(share * len(times)))
    assert chosen.any()
    assert times[chosen].min() > times[~chosen].max()


@pytest.mark.parametrize(
    "validation",
    [
        Validation("kfold", folds=5, fold=3),
        Validation("group", group="group"),
        Validation("time", time="when"),
    ],
)
def test_train_and_val_are_divided_and_the_test_split_is_untouched(validation):
    before = splits()
    after = divided(before, validation)
    assert numbers(after.train) | numbers(after.val) == set(range(20))
    assert not numbers(after.train) & numbers(after.val)
    assert after.test is before.test
    assert after.tune is after.val
    assert len(after.val["x"]) in (4, 5, 8)
    # The same again, in another process or session.
    assert numbers(divided(splits(), validation).val) == numbers(after.val)


def test_the_latest_validate():
    assert numbers(divided(splits(), Validation("time", time="when")).val) == set(range(5))


def test_other_seeds_are_other_folds_and_groups():
    for kind in ("kfold", "group"):
        found = {
            tuple(sorted(numbers(divided(splits(), Validation(kind, seed=seed, group="group")).val)))
            for seed in range(5)
        }
        assert len(found) > 1


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        (
            Validation("group", group="grup"),
            r"group = 'grup' is no part of the task's data; did you mean 'group'",
        ),
        (Validation("time", time="x"), r"time = 'x' must be one number for each example.*\(20, 1\)"),
        (Validation("kfold", folds=21), "folds = 21 must be at most the number of examples, 20"),
    ],
)
def test_what_the_data_does_not_allow_is_refused(validation, said):
    with pytest.raises(ValueError, match=said):
        divided(splits(), validation)


def test_one_group_and_one_moment_are_refused():
    with pytest.raises(ValueError, match="of one group, two are needed"):
        of_groups(np.zeros(5), 2, 0)
    with pytest.raises(ValueError, match="of one moment, two are needed"):
        of_latest(np.zeros(5), 2)


def test_a_stream_is_not_divided():
    stream = Stream([{"x": [float(n)]} for n in range(10)], readers=1)
    with pytest.raises(ValueError, match="the task's is a stream"):
        divided(Splits(stream, stream), Validation("kfold"))


def test_a_split_too_small_for_the_interval_is_refused_with_the_number_that_is_needed():
    assert [examples_for(one) for one in (0.02, 0.05, 0.1, 0.0196)] == [2401, 385, 97, 2500]
    refuse_too_few(splits(), 0.0)
    refuse_too_few(splits(), 0.5)
    with pytest.raises(ValueError, match=r"needs 2401 validation examples; there are 5, which allow 0\.438"):
        refuse_too_few(splits(), 0.02)
