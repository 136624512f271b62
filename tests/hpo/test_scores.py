"""What every validation example scored: kept in few bytes, read back, and how far it ranks trials."""

from pathlib import Path

import numpy as np
import pytest

from hpo.errors import UsageError
from hpo.reliability import split_half
from hpo.scores import (
    found_scores,
    plain_examples,
    read_scores,
    reliabilities,
    scores_name,
    shifted_examples,
)
from trials.scores import Scores

FAMILIES = ("blur", "edges")


def scores(examples: int = 11, seed: int = 0) -> Scores:
    made = np.random.default_rng(seed)
    right = made.integers(0, 2, (3, examples)).astype(np.float32)
    loss = made.exponential(1.0, (3, examples)).astype(np.float32)
    right[2], loss[2] = np.nan, np.nan
    return Scores(FAMILIES, {"accuracy": right, "loss": loss})


def test_scores_are_read_as_they_were_written(tmp_path: Path):
    wanted = scores()
    wanted.save(tmp_path / scores_name(3))
    found = read_scores(tmp_path / "scores" / "trial-00003.npz")
    assert found.families == FAMILIES
    np.testing.assert_array_equal(found.metrics["accuracy"], wanted.metrics["accuracy"])
    np.testing.assert_allclose(found.metrics["loss"], wanted.metrics["loss"], rtol=1e-3)
    assert list((tmp_path / "scores").iterdir()) == [tmp_path / scores_name(3)]
    assert found_scores(tmp_path, [2, 3]).keys() == {3}


def test_right_and_wrong_takes_a_bit_an_example(tmp_path: Path):
    right = np.random.default_rng(0).integers(0, 2, (12, 8000)).astype(np.float32)
    Scores(tuple("abcdefghijk"), {"accuracy": right}).save(tmp_path / "one.npz")
    assert (tmp_path / "one.npz").stat().st_size < 12 * 8000 / 8 + 2000


def test_a_loss_without_bounds_is_kept_as_the_largest_number_there_is(tmp_path: Path):
    Scores(("blur",), {"loss": np.array([[1.0, 1e30], [np.inf, 2.0]], np.float32)}).save(tmp_path / "one.npz")
    assert read_scores(tmp_path / "one.npz").metrics["loss"].max() == 65504


def test_what_a_fold_model_scored_is_filled_in(tmp_path: Path):
    own, other = scores(), scores(seed=1)
    for values in other.metrics.values():
        values[2] = 0.0
    both = own.merged(other)
    np.testing.assert_array_equal(both.metrics["accuracy"][:2], own.metrics["accuracy"][:2])
    assert (both.metrics["accuracy"][2] == 0).all()
    with pytest.raises(ValueError, match="do not go with"):
        own.merged(scores(examples=12))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not an archive"])
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, data: bytes):
    (tmp_path / "one.npz").write_bytes(data)
    with pytest.raises(UsageError, match="cannot be read as scores"):
        read_scores(tmp_path / "one.npz")


def test_a_file_without_an_array_is_damaged(tmp_path: Path):
    np.savez(tmp_path / "one.npz", families=np.array(["blur"]))
    with pytest.raises(UsageError, match="is damaged: it has no examples"):
        read_scores(tmp_path / "one.npz")


# -- reliability ------------------------------------------------------------------------------------------


def test_what_every_example_agrees_on_is_fully_reliable_and_chance_is_not():
    steady = np.repeat(np.arange(6.0)[:, None], 40, 1)
    assert split_half(steady) == pytest.approx(1.0)
    chance = np.random.default_rng(0).normal(size=(30, 400))
    assert abs(split_half(chance)) < 0.5
    assert split_half(steady + 0.1 * chance[:6, :40]) > 0.95


def test_reliability_follows_spearman_and_brown():
    # Trials that differ by 1, examples of variance 40: halves of 40 examples have a correlation of
    # 1 / (1 + 1) among many trials, all 80 one of 2 / 3.
    made = np.random.default_rng(3)
    table = made.normal(size=(3000, 1)) + np.sqrt(40) * made.normal(size=(3000, 80))
    assert split_half(table, draws=5) == pytest.approx(2 / 3, abs=0.03)


def test_few_trials_or_none_that_differ_have_no_reliability():
    assert np.isnan(split_half(np.zeros((2, 10))))
    assert np.isnan(split_half(np.zeros((5, 10))))
    assert np.isnan(split_half(np.zeros((5, 1))))


def test_reliabilities_are_of_trials_that_have_every_score():
    every = [scores(seed=seed) for seed in range(6)]
    assert plain_examples(every, "accuracy").shape == (6, 11)
    assert np.isnan(shifted_examples(every, "accuracy")).all()
    plain, shifted = reliabilities(every, "accuracy")
    assert np.isfinite(plain)
    assert np.isnan(shifted)
    full = [one.merged(Scores(FAMILIES, {k: np.ones((3, 11)) for k in one.metrics})) for one in every]
    assert np.isfinite(reliabilities(full, "accuracy")[1])
