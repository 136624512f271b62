"""Tables that are kept: the same as made again, and made again where the copy is not whole."""

import numpy as np
import pytest
import sklearn.datasets

from trials.data.shipped import table
from trials.data.splits import three_way


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    return tmp_path


def same(one, other):
    for name in ("features", "target", "train", "val", "test"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


def test_the_copy_is_what_the_library_returns(cache):
    made, kept = table("load_iris", 3, True), table("load_iris", 3, True)
    assert len(list(cache.rglob("*.npz"))) == 1
    same(made, kept)
    wanted = sklearn.datasets.load_iris()
    np.testing.assert_array_equal(kept.features, wanted.data)
    np.testing.assert_array_equal(kept.target, wanted.target)
    for part, indices in zip(
        (kept.train, kept.val, kept.test), three_way(150, 3, labels=wanted.target), strict=True
    ):
        np.testing.assert_array_equal(part, indices)


def test_another_seed_is_another_copy(cache):
    first, second = table("load_iris", 0, True), table("load_iris", 1, True)
    assert not np.array_equal(first.train, second.train)
    same(table("load_iris", 0, True), first)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_copy_that_was_cut_off_is_made_again(cache, share):
    made = table("load_iris", 0, True)
    (path,) = cache.rglob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    same(table("load_iris", 0, True), made)
    assert len(path.read_bytes()) == len(whole)


def test_a_copy_with_a_changed_number_is_made_again(cache):
    made = table("load_iris", 0, True)
    (path,) = cache.rglob("*.npz")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 3] ^= 0xFF
    path.write_bytes(damaged)
    same(table("load_iris", 0, True), made)


def test_without_a_cache_it_is_made_every_time(cache, monkeypatch):
    (cache / "tables").write_text("in the way")
    same(table("load_iris", 0, True), table("load_iris", 0, True))
