"""The Gaussian process of a search on the fly, and the axes that it is over."""

import numpy as np
import pytest

from schedules.axes import Axis, around, propose, spread
from schedules.surrogate import Surrogate


def test_it_is_the_gaussian_process_of_scikit_learn():
    process = pytest.importorskip("sklearn.gaussian_process")
    rng = np.random.default_rng(0)
    points, noise = rng.random((8, 2)), rng.uniform(0.05, 0.3, 8)
    scores = np.sin(4 * points[:, 0]) + points[:, 1] + rng.normal(0, noise)
    line = Surrogate(points, scores, noise)
    kernel = process.kernels.ConstantKernel(line._size**2) * process.kernels.Matern(line._length, nu=2.5)
    peer = process.GaussianProcessRegressor(kernel, alpha=line._noise, optimizer=None)
    peer.fit(points, (scores - line._level) / line._spread)
    grid = rng.random((50, 2))
    mean, deviation = line.predict(grid)
    wanted, spread_of = peer.predict(grid, return_std=True)
    np.testing.assert_allclose(mean, wanted * line._spread + line._level, atol=1e-8)
    np.testing.assert_allclose(deviation, spread_of * line._spread, atol=1e-8)


def test_noisy_points_bend_the_line_less():
    points = np.array([[0.0], [0.5], [1.0]])
    scores = np.array([1.0, 2.0, 1.0])
    exact = Surrogate(points, scores, np.zeros(3)).predict(points)[0]
    noisy = Surrogate(points, scores, np.array([0.0, 2.0, 0.0])).predict(points)[0]
    assert exact[1] == pytest.approx(2.0, abs=0.01)
    assert noisy[1] < 1.6


def test_a_prior_gives_the_shape_and_the_scores_the_level():
    def valley(points):
        return 10 + (points[:, 0] - 0.3) ** 2

    line = Surrogate(np.array([[0.9]]), np.array([1.0]), np.zeros(1), valley)
    mean, _ = line.predict(np.array([[0.3], [0.9]]))
    assert mean.tolist() == pytest.approx([1 - 0.36, 1.0])


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [1e30, 1e-30, 0.0], [1.0, 1.0 + 1e-15, 1.0]])
def test_scores_that_are_equal_or_huge_are_survived(scores):
    mean, deviation = Surrogate(np.array([[0.1], [0.1], [0.9]]), np.array(scores), np.zeros(3)).predict(
        np.array([[0.5]])
    )
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()


def test_proposals_are_where_the_bound_is_lowest_and_never_twice():
    points = spread(4, ((0.0, 1.0),))
    line = Surrogate(points, (points[:, 0] - 0.6) ** 2, np.zeros(4))
    best = propose(1, line, points, ((0.0, 1.0),), kappa=0.0)
    assert best[0, 0] == pytest.approx(0.6, abs=0.1)
    two = propose(2, line, points, ((0.0, 1.0),), kappa=2.0)
    assert abs(two[0, 0] - two[1, 0]) > 0.02
    assert propose(3, line, points, ((0.0, 1.0),), 2.0, below=0.4).max() < 0.4
    assert len(propose(3, line, points, ((0.0, 1.0),), 2.0, below=0.0)) == 0


def test_a_large_kappa_fills_the_interval():
    points = np.array([[0.43]])
    for _ in range(9):
        line = Surrogate(points, np.zeros(len(points)), np.zeros(len(points)))
        points = np.concatenate([points, propose(1, line, points, ((0.0, 1.0),), 1e6)])
    assert np.diff(np.sort(points[:, 0])).max() < 0.2


def test_axes_go_from_end_to_end_in_their_scale():
    rate = Axis("lr", 0.01, 100.0)
    assert [rate.value(place) for place in (0.0, 0.5, 1.0)] == pytest.approx([0.01, 1.0, 100.0])
    momentum = Axis("momentum", 0.9, 0.999, "complement")
    assert [momentum.value(place) for place in (0.0, 0.5, 1.0)] == pytest.approx([0.9, 0.99, 0.999])
    decay = Axis("weight_decay", 0.0, 0.4, "linear")
    assert decay.value(0.25) == pytest.approx(0.1)
    for axis in (rate, momentum, decay):
        for place in (0.0, 0.3, 1.0):
            assert axis.place(axis.value(place)) == pytest.approx(place)
            assert axis.low <= axis.value(place) <= axis.high


def test_points_fill_a_box_on_every_axis():
    points = spread(8, ((0.0, 1.0), (0.2, 0.4), (0.0, 1.0)))
    assert points.shape == (8, 3)
    assert np.diff(np.sort(points[:, 2])).max() < 0.3
    assert (points[:, 1] >= 0.2).all()
    assert (points[:, 1] <= 0.4).all()
    assert around([0.05], 0.5) == ((0.0, 0.5),)
