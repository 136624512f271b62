import pytest

from hpo.errors import UsageError
from hpo.objective import Objective
from hpo.samplers.base import SAMPLERS, build
from hpo.space import Float, Space

SPACE = Space({"lr": Float(0, 1)})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "soboll",
            {},
            "unknown sampler 'soboll'; did you mean 'sobol'? known: "
            "cmaes, curve, gp, grid, nsga2, random, sobol, tpe",
        ),
        ("random", {"seed": 1}, "sampler 'random': unknown option 'seed'; known: none"),
        (
            "grid",
            {"point": 3},
            "sampler 'grid': unknown option 'point'; did you mean 'points'? known: points, shuffle",
        ),
        ("grid", {"points": 0}, "sampler 'grid': points=0 must be an integer of at least 1"),
        ("grid", {"points": 2.5}, "sampler 'grid': points=2.5 must be an integer"),
        ("grid", {"points": True}, "sampler 'grid': points=True must be an integer"),
        ("grid", {"shuffle": 1}, "sampler 'grid': shuffle=1 must be true or false"),
        ("tpe", {"gamma": 1.5}, "sampler 'tpe': gamma=1.5 must be a number between 0 and 1"),
        ("tpe", {"gamma": "much"}, "sampler 'tpe': gamma='much' must be a number"),
        (
            "cmaes",
            {"population_size": 3},
            "sampler 'cmaes': population_size=3 must be an integer of at least 4",
        ),
    ],
)
def test_what_is_wrong_with_a_choice_of_sampler_is_said(name, options, message):
    with pytest.raises(UsageError) as raised:
        build(name, SPACE, Objective(), 0, options)
    assert str(raised.value) == message


@pytest.mark.parametrize("name", SAMPLERS)
def test_options_reach_the_sampler(name):
    options = {
        option: entry.default for option, entry in SAMPLERS[name].options.items() if entry.default != 0
    }
    assert build(name, SPACE, Objective(), 0, options).ask(1)
