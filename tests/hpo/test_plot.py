import numpy as np
import pytest

from hpo.cli.plot import HEIGHT, MARKS, plot


def rows(lines):
    """The picture without title, labels and axis."""
    return [line[line.index("|") + 1 :] for line in lines[1 : 1 + HEIGHT]]


def test_a_peak_of_one_step_is_not_lost():
    values = np.zeros(100_000)
    values[54_321] = 1.0
    lines = rows(plot({"spike": values}, len(values), "factor", encoding="ascii"))
    assert lines[0].strip() == "*"
    column = lines[0].index("*")
    assert all(line[column] == "*" for line in lines)


def test_a_jump_is_a_line_without_gaps():
    lines = rows(plot({"jump": np.repeat([1.0, 0.1], 50)}, 100, "factor", encoding="ascii"))
    assert all("*" in line for line in lines[: HEIGHT - 1])


def test_curves_that_meet_take_turns():
    values = np.ones(100)
    lines = rows(plot({str(i): values for i in range(3)}, 100, "factor", encoding="ascii"))
    assert lines[0][:6] == (MARKS[:3] * 2)


def test_one_curve_is_drawn_in_braille_where_there_is_braille():
    text = "\n".join(plot({"a": np.linspace(1, 0, 50)}, 50, "factor", encoding="utf-8"))
    assert any(0x2800 < ord(letter) < 0x2900 for letter in text)
    for encoding in ("ascii", "latin-1", "no-such-encoding"):
        assert "\n".join(plot({"a": np.linspace(1, 0, 50)}, 50, "factor", encoding=encoding)).isascii()


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000, 123_456_789])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_axes_are_labelled_at_any_width(steps, width):
    lines = plot({"a": np.ones(min(steps, 1000))}, steps, "factor", width)
    assert lines[0] == "factor"
    assert max(map(len, lines)) <= max(width, 24)
    assert lines[1].lstrip().startswith("1 ┤")
    assert f"{steps:,}" in lines[-2]
    assert lines[-2].split()[0] == "0"


def test_nothing_but_zeros_can_be_drawn():
    assert rows(plot({"a": np.zeros(10)}, 10, "factor", encoding="ascii"))[-1].startswith("***")
