"""The examples in the docstrings of trials."""

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import trials

# Loaded where a kernel is used only, and by nothing where there is no Triton.
KERNELS = {f"trials.kernels.{name}" for name in ("update", "signals", "augment")}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(trials.__path__, "trials.")
    if module.name not in KERNELS or importlib.util.find_spec("triton")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(len(test.examples) for module in modules for test in finder.find(module)) >= 5
