import math
from pathlib import Path

import numpy as np
import pytest

from dashboards import theme
from dashboards.figures.curves import curves
from dashboards.figures.front import front
from dashboards.figures.importance import importance
from dashboards.figures.parallel import parallel
from dashboards.figures.progress import progress
from dashboards.figures.schedules import schedules
from dashboards.figures.signals import signals
from dashboards.figures.table import table
from dashboards.load import fold
from hpo.events import StudyFinished, TrialFinished, TrialReported, TrialStarted
from tests import events_sample as sample
from tests import traced_sample as traced
from trials.spec import Report

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return fold(list(sample.events(32)), tmp_path_factory.mktemp("study"))


def made(trials, tmp_path, **changes):
    """A study of completed trials, from pairs of a config and a value."""
    events = [sample.start(1.0, **changes)]
    for number, (config, value) in enumerate(trials):
        events.append(TrialStarted(sample.spec(number, config, rungs=1), 2.0))
        events.append(TrialReported(Report(number, 500, 500, 1.0, {"val_loss": value}), 3.0 + number))
        events.append(TrialFinished(number, "completed", 3.5 + number))
    return fold(events, tmp_path)


def trace(figure, name):
    return next(one for one in figure.data if one.name == name)


def test_the_stair_of_progress_never_rises_and_ends_where_the_study_is(study):
    stair = trace(progress(study), "best so far")
    assert list(stair.y) == sorted(stair.y, reverse=True)
    assert stair.x[-1] == study.history.spent
    assert stair.y[-1] == pytest.approx(study.value(study.best))


def test_the_stair_of_a_metric_to_maximise_never_falls(tmp_path):
    events = list(sample.events(32, metric={"name": "val_accuracy", "goal": "max"}))
    stair = trace(progress(fold(events, tmp_path)), "best so far")
    assert list(stair.y) == sorted(stair.y)


def test_every_report_is_on_a_curve_once(study):
    points = sum(sum(value is not None for value in one.x) for one in curves(study).data)
    assert points == sum(len(trial.reports) for trial in study.history.trials.values())


def test_stopped_curves_are_fainter_than_completed_ones(study):
    drawn = curves(study)
    assert trace(drawn, "stopped").opacity < trace(drawn, "completed").opacity < trace(drawn, "best").opacity


def test_schedules_are_those_of_the_best_trials(study):
    drawn = schedules(study)
    names = [one.name for one in drawn.data if one.showlegend is not False]
    assert names == [f"trial {trial.spec.trial}" for trial in study.ranked()[: len(names)]]
    assert len(names) == 5


def test_parallel_lines_meet_every_axis_and_mark_what_is_inactive(study):
    drawn = parallel(study)
    axes = [note.text for note in drawn.layout.annotations if note.text.startswith("<b>")]
    assert axes == [f"<b>{name}</b>" for name in [*study.searched(), "val_loss"]]
    at = axes.index("<b>momentum</b>")
    for one in drawn.data:
        heights = np.array([np.nan if height is None else height for height in one.y], dtype=float)
        numbers = np.array(one.customdata)
        for number in set(numbers.tolist()):
            line = heights[numbers == number]
            is_inactive = "momentum" not in study.history.trials[number].spec.config
            assert (line[at] < 0) == is_inactive
            assert 0 <= line[len(axes) - 1] <= 1


def test_parallel_axes_are_logarithmic_where_the_space_is(study, tmp_path):
    drawn = parallel(made([({"lr": 1e-4}, 1.0), ({"lr": 1e-2}, 2.0), ({"lr": 1e-1}, 3.0)], tmp_path))
    heights = {one.customdata[0]: one.y[0] for one in drawn.data}
    assert heights == pytest.approx({0: 0.0, 1: 2 / 3, 2: 1.0})


def test_parallel_axes_take_values_that_the_space_does_not_know(tmp_path):
    trials = [
        ({"lr": 5.0, "flag": True, "n": 3, "kind": "a"}, 1.0),
        ({"lr": 1e-9, "flag": False, "n": 9}, 2.0),
    ]
    drawn = parallel(made(trials, tmp_path))
    for one in drawn.data:
        assert all(height is None or -0.2 < height <= 1 for height in one.y)


def test_a_large_space_shows_the_axes_that_matter(tmp_path):
    space = {f"x{index}": {"low": 0.0, "high": 1.0} for index in range(40)}
    config = dict.fromkeys(space, 0.5)
    drawn = parallel(made([(config, 1.0), (config, 2.0)], tmp_path, space=space), order=["x37", "x38"])
    names = [note.text for note in drawn.layout.annotations if note.text.startswith("<b>")]
    assert len(names) == 15
    assert names[-3:] == ["<b>x37</b>", "<b>x38</b>", "<b>val_loss</b>"]


def test_importance_is_drawn_largest_on_top():
    drawn = importance({"lr": 0.7, "<width>": 0.2, "momentum": 0.1})
    assert list(drawn.data[0].y) == ["momentum", "&lt;width&gt;", "lr"]
    assert list(drawn.data[0].text) == ["10%", "20%", "70%"]
    assert importance({}) is None


def test_the_table_has_a_row_for_every_trial_best_first(study):
    html = table(study)
    rows = html.split("<tr")[2:]
    assert len(rows) == 32
    assert f'data-trial="{study.best.spec.trial}" class="best"' in rows[0]
    assert html.count('data-state="failed"') == 1
    assert "nan" in html


def test_everything_from_elsewhere_is_escaped(tmp_path):
    evil = "<img src=x onerror=alert(1)>&"
    trials = [({evil: evil, "lr": 0.1}, 1.0), ({evil: "b", "lr": 0.2}, 2.0)]
    found = made(trials, tmp_path, space={evil: {"choice": [evil, "b"]}}, name=evil)
    for draw in (progress, curves, parallel, schedules):
        drawn = draw(found)
        assert drawn is None or "<img" not in drawn.to_json()
    assert "<img" not in table(found)


@pytest.mark.parametrize(
    "values",
    [[math.nan], [math.inf, -math.inf], [0.0], [1e300, -1e300, 0.0], [5e-324, 1.0], [1.7e308, -1.7e308]],
)
def test_extreme_values_are_drawn_or_left_out(tmp_path, values):
    found = made([({"lr": 0.01 * (index + 1)}, value) for index, value in enumerate(values)], tmp_path)
    for draw in (progress, curves, parallel, schedules):
        drawn = draw(found)
        if drawn is not None:
            assert "NaN" not in drawn.to_json()
            assert "Infinity" not in drawn.to_json()


@pytest.mark.parametrize(
    ("low", "high"), [(1e-4, 1e-1), (0.04, 1.5), (1.0, 1.1), (5e-324, 1.0), (1e-300, 1e300), (3.0, 7.0)]
)
def test_round_numbers_lie_between_the_ends(low, high):
    ticks = theme.decades(low, high)
    assert ticks == sorted(ticks)
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)
    assert len(ticks) <= 12


def lines(figure, words):
    return [one for one in figure.data if f", {words}<br>" in one.hovertemplate]


def test_signals_are_those_of_the_trace_in_few_points(tmp_path):
    traced.save(tmp_path, 0)
    drawn = signals(fold(traced.events(sharpness=True), tmp_path))
    titles = [drawn.layout[f"yaxis{number or ''}"].title.text for number in ["", 2, 3, 4, 5]]
    assert titles == ["training loss", "learning rate", "gradient norm", "update norm", "sharpness"]
    for one in drawn.data:
        assert len(one.x) <= 1000
    (rate,) = lines(drawn, "rate")
    assert (rate.x[0], rate.x[-1]) == (0, traced.KEPT - 1)
    np.testing.assert_allclose(rate.y, 0.3)
    # The adopted probe is the rate itself; the other is a branch.
    (branch,) = lines(drawn, "probed rate")
    assert np.nanmax(branch.y) == pytest.approx(0.1)
    assert np.nanmax(branch.x) == traced.PROBED - 1
    (edge,) = lines(drawn, "2 / rate")
    np.testing.assert_allclose(edge.y, 2 / 0.3)
    low, high = drawn.layout.yaxis5.range
    assert low < np.log10(2 / 0.3) < np.log10(12.0) < high


def test_signals_need_a_trace_with_a_kept_step(tmp_path):
    study = fold(traced.events(), tmp_path)
    assert signals(study) is None
    traced.save(tmp_path, 0, kept=0)
    assert signals(study) is None
    traced.save(tmp_path, 0).write_bytes(b"nonsense")
    assert signals(study) is None


def test_signals_that_are_not_finite_are_gaps(tmp_path):
    path = traced.save(tmp_path, 0)
    with np.load(path) as arrays:
        found = dict(arrays)
    found["loss"][2000:], found["grad_l1"][:], found["factor"][5] = np.nan, np.inf, 0.0
    np.savez(path, **found)
    drawn = signals(fold(traced.events(), tmp_path))
    assert "NaN" not in drawn.to_json()
    assert "Infinity" not in drawn.to_json()
    (loss,) = lines(drawn, "training loss")
    assert np.isnan(np.asarray(loss.y, dtype=float)).any()


def test_the_table_has_three_counters_where_they_differ(study, tmp_path):
    assert ">kept<" in table(fold(traced.events(), tmp_path))
    assert ">460<" in table(fold(traced.events(), tmp_path))
    assert ">kept<" not in table(study)


def replicated(tmp_path):
    """Six completed trials; the second, not the lowest, is judged best by three seeds, one of them lucky."""
    trials = [
        ({"lr": 10.0**-number, "schedule": "linear", "warmup_fraction": 0.165}, 0.1 * number)
        for number in range(1, 7)
    ]
    events = [sample.start(1.0)]
    for number, (config, value) in enumerate([*trials, trials[1], trials[1]]):
        again = 1 if number >= len(trials) else None
        events.append(TrialStarted(sample.spec(number, config, rungs=1), 2.0, replica_of=again))
        said = 0.01 if number == len(trials) else value
        events.append(TrialReported(Report(number, 500, 500, 1.0, {"val_loss": said}), 3.0 + number))
        events.append(TrialFinished(number, "completed", 3.5 + number))
    return fold([*events, StudyFinished("8 trials have ended", 20.0, 1)], tmp_path)


def test_leading_configs_are_drawn_once_and_the_chosen_one_first(tmp_path):
    study = replicated(tmp_path)
    assert [trial.spec.trial for trial in study.leading(9)] == [1, 0, 2, 3, 4, 5]
    names = [one.name for one in schedules(study).data if one.showlegend is not False]
    assert names == ["trial 1", "trial 0", "trial 2", "trial 3", "trial 4"]


def test_other_seeds_have_dots_of_their_own(tmp_path):
    drawn = progress(replicated(tmp_path))
    assert trace(drawn, "other seeds").marker.symbol == "circle-open"
    assert list(trace(drawn, "other seeds").text) == [
        "trial 6, completed (trial 1 again)",
        "trial 7, completed (trial 1 again)",
    ]
    assert list(trace(drawn, "completed trials").y) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_replica_has_the_colour_of_its_state(tmp_path):
    shown = table(replicated(tmp_path))
    assert '<td class="state" data-state="completed">completed (trial 1 again)</td>' in shown


def test_every_state_has_its_colour_in_the_table():
    style = (ROOT / "dashboards" / "report.css").read_text()
    assert all(f"var(--{state})" in style for state in theme.STATE_COLOURS)


def test_the_chosen_config_stands_out_though_another_is_lower(tmp_path):
    thick = [one for one in parallel(replicated(tmp_path)).data if one.line.width == 4.0]
    assert [set(one.customdata) for one in thick] == [{1}]


def fronted(trials, tmp_path):
    """A study of two metrics, from pairs of them."""
    events = [sample.start(1.0, metric=["val_loss", "price"])]
    for number, (loss, price) in enumerate(trials):
        events.append(TrialStarted(sample.spec(number, {"lr": 0.1}, rungs=1), 2.0))
        events.append(TrialReported(Report(number, 500, 500, 1.0, {"val_loss": loss, "price": price}), 3.0))
        events.append(TrialFinished(number, "completed", 3.5))
    return fold(events, tmp_path)


def test_a_front_beside_trials_that_are_far_off_has_room_on_logarithmic_axes(tmp_path):
    drawn = front(fronted([(0.01, 0.5), (0.02, 0.1), (0.9, 20.0)], tmp_path))
    for axis, low, high in ((drawn.layout.xaxis, 0.1, 20.0), (drawn.layout.yaxis, 0.01, 0.9)):
        assert axis.type == "log"
        assert axis.range[0] < math.log10(low) < math.log10(high) < axis.range[1]
    drawn = front(fronted([(0.5, 0.0), (0.4, 1.0)], tmp_path))  # 0 has no logarithm
    assert drawn.layout.xaxis.type is None
