import tomllib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schedules import (
    Knots,
    build,
    from_csv,
    from_toml,
    load_knots,
    parse,
    replay,
    thin,
    to_csv,
    to_text,
    to_toml,
    to_torch_snippet,
)
from tests.schedules.test_replay import knots
from tests.strategies import horizons, law, schedules


@given(knots=knots(), about=st.text())
@law
def test_toml_gives_the_knots_back(knots, about):
    text = to_toml(knots, about)
    assert from_toml(text) == knots
    assert tomllib.loads(text)["format"] == 1


@given(knots=knots())
@law
def test_csv_gives_the_knots_back_and_the_rate_within_rounding(knots):
    found = from_csv(to_csv(knots))
    assert (found.steps, found.factors) == (knots.steps, knots.factors)
    # The rate is known by its products only, and these may vanish.
    if knots.lr is not None and knots.lr * max(knots.factors) > 1e-300:
        assert found.lr == pytest.approx(knots.lr, rel=1e-12)


def run(snippet):
    space: dict = {}
    exec(compile(snippet, "snippet", "exec"), space)
    return space


@given(knots=knots(), about=st.text())
@law
def test_the_snippet_gives_the_same_factors(knots, about):
    space = run(to_torch_snippet(knots, about))
    steps = [0, 1, 2, *knots.steps, *(step + 1 for step in knots.steps), knots.horizon + 1000]
    np.testing.assert_array_equal([space["factor"](step) for step in steps], replay(knots)(steps))
    assert space.get("LR") == knots.lr


def test_the_snippet_needs_nothing_of_this_project():
    found = Knots(tuple(range(0, 500, 5)), tuple(np.linspace(1, 0.1, 100)), lr=0.5)
    snippet = to_torch_snippet(found)
    assert [line for line in snippet.splitlines() if "import" in line] == [
        "import bisect",
        "from torch.optim.lr_scheduler import LambdaLR",
    ]
    assert max(map(len, snippet.splitlines())) < 110
    space = run(snippet)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=space["LR"])
    scheduler = space["make_scheduler"](optimizer)
    rates = []
    for _ in range(500):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, 0.5 * replay(found)(np.arange(500)), rtol=1e-15)


@given(schedule=schedules(), horizon=horizons)
@law
def test_the_text_is_the_same_schedule_as_a_family(schedule, horizon):
    found = thin(schedule(np.arange(horizon)))
    text = to_text(found)
    assert parse(text)["name"] == "knots"
    steps = np.arange(horizon + 2)
    peak = max(found.factors)
    np.testing.assert_allclose(build(text, horizon)(steps), replay(found)(steps), rtol=0, atol=1e-9 * peak)


def test_knots_too_close_for_a_text_are_refused():
    with pytest.raises(ValueError, match="use a file"):
        to_text(Knots((0, 1, 3_000_000), (1.0, 0.5, 0.1)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = 1\nknots = [[0, 1", "damaged"),
        ("", "format is missing"),
        ("knots = [[0, 1.0]]", "format is missing"),
        ("format = 2\nknots = [[0, 1.0]]", "format = 2 is not known"),
        ("format = true\nknots = [[0, 1.0]]", "format = True is not known"),
        ("format = 1", "knots is missing"),
        ("format = 1\nknot = [[0, 1.0]]", "did you mean 'knots'?"),
        ("format = 1\nknots = 3", "list of pairs"),
        ("format = 1\nknots = [0, 1.0]", "list of pairs"),
        ("format = 1\nknots = [[0, 1.0, 2]]", "list of pairs"),
        ("format = 1\nknots = []", "give one factor for each step"),
        ("format = 1\nknots = [[5, 1.0], [3, 1.0]]", r"steps\[1\]=3 must be above"),
        ("format = 1\nknots = [[0, -1.0]]", r"factors\[0\]=-1.0"),
        ("format = 1\nknots = [[0, nan]]", r"factors\[0\]=nan"),
        ("format = 1\nknots = [[0, '1']]", r"factors\[0\]='1'"),
        ("format = 1\nlr = -1\nknots = [[0, 1]]", "lr=-1"),
        ("format = 1\nlr = 'x'\nknots = [[0, 1]]", "lr='x'"),
    ],
)
def test_toml_that_is_wrong_says_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        from_toml(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no step"),
        ("step,lr\n0,1", "no factor"),
        ("step,factor\n", "give one factor for each step"),
        ("step,factor\n0,1\nx,1", "line 3: 'x,1'"),
        ("step,factor\n0,1\n1", "line 3: '1'"),
        ("step,factor\n0.5,1", "line 2"),
        ("step,factor\n0,1\n0,1", r"steps\[1\]=0 must be above"),
        ("step,factor\n0,-1", r"factors\[0\]=-1.0"),
        ("step,factor,lr\n0,1,x", "lr='x'"),
    ],
)
def test_csv_that_is_wrong_says_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        from_csv(text)


def test_files_are_read_by_their_ending(tmp_path):
    found = Knots((0, 9), (1.0, 0.5), 0.1)
    (tmp_path / "a.toml").write_text(to_toml(found))
    (tmp_path / "a.csv").write_text("\ufeff" + to_csv(found), encoding="utf-8")
    assert load_knots(tmp_path / "a.toml") == found
    assert load_knots(tmp_path / "a.csv").steps == found.steps


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"", "must end in .toml or .csv"),
        ("missing.toml", None, "cannot be read: No such file"),
        ("a.toml", b"\xff\xfe", "no text"),
        ("a.toml", b"format = 1\nknots = []", "a.toml: 0 steps"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_knots(tmp_path / name)
