"""The examples in the docstrings of schedules, and that every public function has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import schedules

MODULES = [module.name for module in pkgutil.walk_packages(schedules.__path__, "schedules.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", schedules.__all__)
def test_public_functions_have_an_example(name):
    public = getattr(schedules, name)
    if inspect.isfunction(public):
        assert ">>>" in (inspect.getdoc(public) or "")
