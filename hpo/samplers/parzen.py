"""Kernel densities of configs, and the ratio of that of good ones to that of the rest.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; multivariate as in Falkner et
al., "BOHB", ICML 2018, arXiv:1807.01774. A kernel has a normal, cut at the bounds, for every number and a
chance to keep for every choice; where only one of two configs has a hyperparameter its density is uniform.
"""

import math

import numpy as np

from hpo.samplers.features import Features

_CHANGE = 0.25  # chance that a choice is drawn anew
_WIDTH = 0.2  # of the kernels of few configs


class Density:
    """Of (n, d) snapped points; a wide kernel, the uniform, is one of the n + 1."""

    def __init__(self, features: Features, points: np.ndarray, active: np.ndarray) -> None:
        self._features, self._points, self._active = features, points, active
        n, d = points.shape
        self._width = _WIDTH * max(1, n) ** (-1 / (d + 4))
        numbers = active & ~features.is_choice
        self._numbers = numbers.astype(float)
        from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

        # (n, d) logarithm of what a kernel of this width holds within the bounds, times its height
        inside = ndtr((1 - points) / self._width) - ndtr(-points / self._width)
        self._heights = -np.log(inside * self._width * math.sqrt(2 * math.pi)) * numbers

    def log(self, points: np.ndarray, active: np.ndarray) -> np.ndarray:
        """(m,) log densities at (m, d) snapped points."""
        choice = self._features.is_choice
        here = (active & ~choice).astype(float)
        mine, theirs = points * here, self._points * self._numbers
        squares = (mine * points) @ self._numbers.T + here @ (theirs * self._points).T - 2 * mine @ theirs.T
        logs = here @ self._heights.T - np.maximum(squares, 0.0) / (2 * self._width**2)  # (m, n)
        for column in np.flatnonzero(choice):
            both = active[:, column, None] & self._active[:, column]
            same = np.abs(points[:, column, None] - self._points[:, column]) < 1e-9
            size = int(self._features.sizes[column])
            # Relative to a uniform, so that a hyperparameter that one lacks counts 0.
            kept = math.log(1 - _CHANGE + _CHANGE / size) + math.log(size)
            logs += both * np.where(same, kept, math.log(_CHANGE))
        logs = np.concatenate([logs, np.zeros((len(points), 1))], 1)
        most = logs.max(1)
        return most + np.log(np.exp(logs - most[:, None]).mean(1))

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count, d) points of the unit cube, not snapped."""
        n, d = self._points.shape
        drawn = rng.random((count, d))
        kernel = rng.integers(0, n + 1, count)
        moved = rng.normal(0.0, self._width, (count, d))
        keeps = rng.random((count, d)) >= _CHANGE
        own = kernel < n
        base, active = self._points[kernel[own]], self._active[kernel[own]]
        number = base + moved[own]
        number = np.abs(number) % 2.0  # reflected at the bounds
        number = np.where(number > 1, 2 - number, number)
        stays = np.where(self._features.is_choice, keeps[own], True) & active
        value = np.where(self._features.is_choice, base, number)
        drawn[own] = np.where(stays, value, drawn[own])
        return drawn
