import numpy as np
import pytest

from hpo.errors import UsageError
from hpo.listeners.rates import followed, rate_curve
from hpo.listeners.runs import Runs
from hpo.traces import find_trace, load_trace, read_trace, sampled
from tests import events_sample as sample
from tests import traced_sample as traced


def test_a_trace_is_read_as_it_was_recorded(tmp_path):
    trace = read_trace(traced.save(tmp_path, 0, kept=5, first_step=7))
    assert trace.steps.tolist() == [7, 8, 9, 10, 11]
    np.testing.assert_array_equal(trace.factor, np.full(5, 3.0))
    np.testing.assert_allclose(trace.update_norm, np.full(5, 0.01), rtol=1e-6)
    np.testing.assert_array_equal(trace.grad_l1 - trace.grad_l2, np.full(5, 7.0))
    assert [(one.step, one.number, one.start, one.is_adopted) for one in trace.probes] == [
        (7, 0, -1, False),
        (7, 1, -1, True),
    ]
    assert [one.val_losses.tolist() for one in trace.probes] == [[0.9], [0.8, 0.7]]
    assert [set(one.factor.tolist()) for one in trace.probes] == [{1.0}, {3.0}]
    assert [len(one.loss) for one in trace.probes] == [traced.PROBED, traced.PROBED]
    assert trace.facts == ({"stage": 0, "factor": 3.0, "chosen": True},)


def test_a_file_of_kept_signals_alone_is_a_trace_without_probes(tmp_path):
    np.savez(tmp_path / "old.npz", factor=[1.0], loss=[2.0], grad_l1=[3.0], grad_l2=[4.0])
    trace = read_trace(tmp_path / "old.npz")
    assert (trace.first_step, trace.probes, trace.facts, len(trace.update_norm)) == (0, (), (), 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("probe_loss", [1.0]), ("probe_number", None), ("facts", "no json"), ("grad_l1", [1.0]), ("step", "x")],
)
def test_a_trace_that_contradicts_itself_is_damaged(tmp_path, name, value):
    path = traced.save(tmp_path, 0, kept=5)
    with np.load(path) as arrays:
        found = dict(arrays)
    found.pop(name)
    np.savez(path, **found, **({} if value is None else {name: value}))
    with pytest.raises(UsageError, match="is damaged"):
        read_trace(path)
    assert find_trace(tmp_path, 0) is None


def test_a_trial_that_kept_no_step_has_a_trace_for_views_only(tmp_path):
    sample.journal(tmp_path, traced.events())
    traced.save(tmp_path, 0, kept=0)
    found = find_trace(tmp_path, 0)
    assert found is not None
    assert len(found.probes) == 2
    with pytest.raises(UsageError, match="kept no step: it ended while it tried"):
        load_trace(tmp_path, 0)


@pytest.mark.parametrize(
    ("ends", "words"), [(4, "it .* no traces"), (3, "is running: its trace is whole when it has ended")]
)
def test_a_missing_trace_says_why(tmp_path, ends, words):
    sample.journal(tmp_path, traced.events()[:ends])
    with pytest.raises(UsageError, match=rf"trial 0 .*{words}"):
        load_trace(tmp_path, 0)


@pytest.mark.parametrize("points", [4, 10, 50])
def test_samples_keep_both_ends_and_the_highest_value(points):
    values = np.sin(np.arange(1000) / 50)
    values[500], values[600] = 9.0, np.nan
    at = sampled(values, points)
    assert len(at) <= points
    assert {0, 999, 500} <= set(at.tolist())


def test_rates_found_while_training_are_those_that_were_followed(tmp_path):
    traced.save(tmp_path, 0)
    assert rate_curve(traced.RACE, 500) == []
    assert rate_curve({"lr": 0.1, "rule": "hypergradient"}, 500) == []
    assert followed(tmp_path, 0, {"lr": 0.1, "schedule": "cosine"}) == []
    assert followed(tmp_path, 1, traced.RACE) == []
    found = followed(tmp_path, 0, traced.RACE)
    assert len(found) <= 50
    assert (found[0][0], found[-1][0]) == (0, traced.KEPT - 1)
    assert [rate for _, rate in found] == pytest.approx([0.3] * len(found))


def test_a_run_has_the_rates_followed_and_the_steps_of_wall_time(tmp_path):
    path = sample.journal(tmp_path, traced.events())
    traced.save(tmp_path, 0)
    runs = Runs(str(path))
    for event in traced.events()[:3]:
        runs.tell(event)
    assert not [key for key, _ in runs.runs[0].metrics if key == "lr"]
    runs.tell(traced.events()[3])
    measures = runs.runs[0].metrics
    assert measures["wall", 500].value == 460
    assert next(one.value for (key, _), one in measures.items() if key == "lr") == pytest.approx(0.3)
    # After what was there before, as a store that is being written counts on it.
    assert next(iter(measures))[0] == "val_loss"
    assert "0.3" not in runs.runs[0].params.values()


def test_a_function_that_has_a_rule_of_its_own_has_no_trace_read(tmp_path):
    events = traced.events(config={"lr": 0.1, "schedule": "cosine", "rule": "mine"}, kind="function")
    path = sample.journal(tmp_path, events)
    traced.save(tmp_path, 0)
    runs = Runs(str(path))
    for event in events:
        runs.tell(event)
    rates = [one.value for (key, _), one in runs.runs[0].metrics.items() if key == "lr"]
    assert max(rates) <= 0.1
