"""The picture of a comparison of tuners."""

import math

from dashboards.bench import regrets


def curve(means, half):
    return {"spent": [0.25, 1.0, 5.0, 20.0], "mean": means, "half": [half] * 4}


def test_lines_have_the_room_though_intervals_reach_to_nothing():
    drawn = regrets({"curve": curve([1.0, 0.8, 0.4, 0.2], 3.0), "tpe": curve([1.0, 0.9, 0.5, 0.3], 0.1)})
    low, high = (10**end for end in drawn.layout.yaxis.range)
    assert 0.1 < low < 0.2
    assert 1.0 < high < 2.0


def test_every_tick_says_its_number():
    drawn = regrets({"curve": curve([1.0, 0.8, 0.4, 0.0], 0.1)})
    for axis in (drawn.layout.xaxis, drawn.layout.yaxis):
        assert [float(text) for text in axis.ticktext] == list(axis.tickvals)
        assert len(axis.tickvals) >= 3
    assert drawn.layout.xaxis.tickvals[-1] == 20.0
    assert min(drawn.data[1].y) > 0  # what is 0 is drawn at the foot of a logarithmic axis
    assert math.log10(min(drawn.data[1].y)) >= drawn.layout.yaxis.range[0]
