"""The examples in the docstrings of the searching half."""

import doctest
import importlib

import pytest

MODULES = [
    "hpo.annealing",
    "hpo.codec",
    "hpo.forecasts",
    "hpo.history",
    "hpo.importance",
    "hpo.objective",
    "hpo.options",
    "hpo.programs",
    "hpo.pruners.asha",
    "hpo.pruners.base",
    "hpo.pruners.median",
    "hpo.pruners.ranking",
    "hpo.pruners.trust",
    "hpo.pruners.never",
    "hpo.runners.cluster",
    "hpo.runners.joining",
    "hpo.runners.submission",
    "hpo.samplers.base",
    "hpo.samplers.finals",
    "hpo.samplers.grid",
    "hpo.samplers.random",
    "hpo.samplers.sobol",
    "hpo.space.domains",
    "hpo.space.space",
    "hpo.space.table",
    "hpo.store",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
