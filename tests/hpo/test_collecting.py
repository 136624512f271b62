"""When Python looks for garbage: not while it imports, and as before when that is done."""

import gc

import pytest

from hpo.collecting import uncollected


def test_it_is_as_before_afterwards_also_when_something_is_raised():
    def broken():
        with uncollected():
            assert not gc.isenabled()
            raise ValueError("of mine")

    assert gc.isenabled()
    with pytest.raises(ValueError, match="of mine"):
        broken()
    assert gc.isenabled()


def test_who_had_it_off_has_it_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
