"""The flat names themselves."""

import pytest

from schedules import HYPERPARAMETERS, check_name


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_known_names_pass(name):
    check_name(name)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(
        ValueError, match=r"'warmup_fracton'; did you mean 'warmup_fraction'\? known: schedule, "
    ):
        check_name("warmup_fracton")
