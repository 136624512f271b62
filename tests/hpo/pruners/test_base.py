import pytest

from hpo.errors import UsageError
from hpo.objective import Objective
from hpo.pruners.base import PRUNERS, build


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ash", {}, "unknown pruner 'ash'; did you mean 'asha'? known: asha, median, never, pause, trust"),
        ("asha", {"etaa": 3}, "pruner 'asha': unknown option 'etaa'; did you mean 'eta'? known: eta, rungs"),
        ("asha", {"eta": 1}, "pruner 'asha': eta=1 must be an integer of at least 2"),
        ("asha", {"rungs": 0}, "pruner 'asha': rungs=0 must be an integer of at least 1"),
        (
            "median",
            {"grace_fraction": 2},
            "pruner 'median': grace_fraction=2 must be a number between 0 and 1",
        ),
    ],
)
def test_what_is_wrong_with_a_choice_of_pruner_is_said(name, options, message):
    with pytest.raises(UsageError) as raised:
        build(name, Objective(), options)
    assert str(raised.value) == message


@pytest.mark.parametrize("name", PRUNERS)
def test_a_trial_never_heard_of_may_go_on(name):
    assert build(name, Objective()).keep(0)
