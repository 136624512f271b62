"""Leading configs are trained again with other seeds, and the winner is who has the lowest mean."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from hpo import config as configs
from hpo.cli.explain import ended
from hpo.errors import UsageError
from hpo.events import (
    Event,
    StudyFinished,
    StudyStarted,
    TrialFinished,
    TrialPaused,
    TrialReported,
    TrialStarted,
    TrialStopped,
)
from hpo.history import History, Trial
from hpo.judgement import judgement, table
from hpo.limits import Limits
from hpo.listeners.runs import Runs
from hpo.listeners.summary import summary
from hpo.loop import Search
from hpo.objective import Objective
from hpo.plan import Plan
from hpo.pruners import base as pruners
from hpo.replicas import Replicas, usual
from hpo.runners.base import Target
from hpo.runners.inline import InlineRunner
from hpo.runners.replayed import ReplayedRunner
from hpo.samplers import base as samplers
from hpo.space import table as space_table
from hpo.store import Memory
from tests.objectives_sample import SPACE, value
from trials.spec import Report, TrialSpec

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"
BUDGET = 40
PLAN = Plan(BUDGET, (8, 16, 28, BUDGET), BUDGET, 0, 0)
BEGIN = StudyStarted("study", {}, 0, {}, "", 0.0)
THREE = Replicas(3, 3)
VALUES = Objective()
TWO = replace(VALUES, others=(Objective("price"),))


def searched(
    name: str = "noisy",
    limits: Limits = Limits(trials=20),  # noqa: B008 - frozen
    replicas: Replicas = THREE,
    recorded: Iterable[Event] = (),
    sampler: str = "random",
    pruner: str = "never",
    objective: Objective = VALUES,
    lanes: int = 4,
    **others,
) -> list[Event]:
    """The journal of a study, taken up from the events that are given."""
    store, known = Memory(), list(recorded)
    store.append(known)
    runner = others.pop("runner", None) or ReplayedRunner(Target(f"{SAMPLE}:{name}"), lanes)
    search = Search(
        *(store, samplers.build(sampler, space_table.read(SPACE, "[space]"), objective, 0)),
        *(pruners.build(pruner, objective), runner, History(objective), limits, PLAN, BEGIN),
        replicas=replicas,
        clock=getattr(runner, "clock", lambda: 0.0),
        **others,
    )
    search.run(known)
    return list(store)


def history_of(events: Sequence[Event], objective: Objective = VALUES) -> History:
    return History(objective, events)


def worth(trial: Trial) -> float:
    """Its final value without luck."""
    return value(cast(Mapping[str, float], trial.spec.config), BUDGET)


def replicas_of(history: History) -> dict[int, list[Trial]]:
    return {n: some for n, one in history.trials.items() if (some := history.replicas(one))}


@pytest.mark.parametrize("pruner", ["never", "asha", "median", "trust", "pause"])
@pytest.mark.parametrize("lanes", [1, 4])
def test_the_last_trials_give_the_leading_configs_three_seeds(pruner: str, lanes: int) -> None:
    events = searched(limits=Limits(trials=30), pruner=pruner, lanes=lanes)
    history = history_of(events)
    assert len(history.trials) == 30
    first = [one for one in history.trials.values() if one.replica_of is None and one.state == "completed"]
    leading = sorted(first, key=history.value)[:3]
    found = replicas_of(history)
    assert found.keys() == {one.spec.trial for one in leading}
    for trial in leading:
        group = [trial, *found[trial.spec.trial]]
        assert len({one.spec.seed for one in group}) == 3
        assert {tuple(one.spec.config.items()) for one in group} == {tuple(trial.spec.config.items())}
        assert all(one.state == "completed" and one.spent == BUDGET for one in group), "none is cut short"
        assert group[1].origin == f"replica: of trial {trial.spec.trial}, seed 2 of 3"
    # Nothing else begins once they do, and all that searched has ended.
    numbers = [event.replica_of for event in events if isinstance(event, TrialStarted)]
    assert all(number is not None for number in numbers[24:])


def test_the_winner_is_who_has_the_lowest_mean_and_not_the_luckiest() -> None:
    chosen, lucky = [], []
    for seed in range(12):
        store = Memory()
        runner = ReplayedRunner(Target(f"{SAMPLE}:noisy"), 4)
        space = space_table.read(SPACE, "[space]")
        plan = replace(PLAN, seed=seed)
        search = Search(
            *(store, samplers.build("random", space, VALUES, seed), pruners.build("never", VALUES)),
            *(runner, History(VALUES), Limits(trials=30), plan, BEGIN),
            replicas=THREE,
            clock=runner.clock,
        )
        history = search.run()
        assert history.best is not None
        estimate = history.judged[history.best.spec.trial][0]
        assert estimate.seeds == 3
        assert estimate.low < estimate.mean < estimate.high
        means = {n: history.judged[n][0].mean for n in replicas_of(history)}
        assert min(means, key=means.__getitem__) == history.best.spec.trial
        chosen.append(worth(history.best))
        first = [one for one in history.trials.values() if one.replica_of is None]
        lucky.append(worth(min(first, key=history.value)))
    assert np.mean(chosen) <= np.mean(lucky)
    assert any(one < other for one, other in zip(chosen, lucky, strict=True))


def test_steps_are_kept_for_them_too() -> None:
    history = history_of(searched(limits=Limits(total_steps=20 * BUDGET), pruner="asha"))
    assert history.spent <= 20 * BUDGET
    assert [len(some) for some in replicas_of(history).values()] == [2, 2, 2]


@pytest.mark.parametrize("pruner", ["never", "asha", "pause"])
@pytest.mark.parametrize("lanes", [1, 4])
def test_time_is_kept_for_them_too(pruner: str, lanes: int) -> None:
    # A trial takes as many seconds as it has steps.
    seconds = 20.0 * BUDGET
    events = searched(limits=Limits(seconds=seconds), pruner=pruner, lanes=lanes)
    history = history_of(events)
    assert history.elapsed() <= seconds
    assert history.elapsed() > 0.7 * seconds
    found = replicas_of(history)
    leading = Replicas(3, 3).leaders(history)
    assert all(len(found[one.spec.trial]) == 2 for one in leading)
    assert {one.state for some in found.values() for one in some} == {"completed"}
    assert history.finish is not None
    assert history.finish.reason in ("800 seconds, the last for replicas", "time is up (800 s)")
    assert history.best in leading


def test_without_replicas_and_where_seeds_play_no_role_all_time_is_searched_in() -> None:
    for name, replicas in (("noisy", Replicas()), ("curve", THREE)):
        events = searched(name, limits=Limits(seconds=20.0 * BUDGET), replicas=replicas, lanes=2)
        history = history_of(events)
        assert history.finish is not None
        assert history.finish.reason == "time is up (800 s)"
        assert len(history.trials) >= 38


def test_a_study_that_began_to_train_them_and_is_taken_up_with_more_time_searches_on() -> None:
    events = searched(limits=Limits(seconds=12.0 * BUDGET))
    runner = ReplayedRunner(Target(f"{SAMPLE}:noisy"), 4, began=events[-1].time)
    again = searched(limits=Limits(seconds=30.0 * BUDGET), recorded=events, runner=runner)
    history = history_of(again)
    assert len(history.trials) > 60
    assert all(len(history.replicas(one)) == 2 for one in Replicas(3, 3).leaders(history))


def without_times(event: Event) -> str:
    return repr(replace(event, time=0.0))


@pytest.mark.parametrize("pruner", ["asha", "pause"])
def test_killed_anywhere_and_taken_up_the_same_replicas_are_trained(pruner: str) -> None:
    whole = searched(limits=Limits(trials=16), pruner=pruner, lanes=1)
    begun = next(
        n for n, one in enumerate(whole) if isinstance(one, TrialStarted) and one.replica_of is not None
    )
    for cut in range(begun - 3, len(whole), 3):
        again = searched(limits=Limits(trials=16), pruner=pruner, recorded=whole[:cut], lanes=1)
        started = [one for one in again if isinstance(one, TrialStarted)]
        wanted = [one for one in whole if isinstance(one, TrialStarted)]
        assert list(map(without_times, started)) == list(map(without_times, wanted))
        ended = [one for one in again if isinstance(one, TrialFinished)]
        assert sorted(one.trial for one in ended) == list(range(len(wanted)))
        cut_short = {one.trial for one in again if isinstance(one, (TrialStopped, TrialPaused))}
        assert not cut_short & {one.spec.trial for one in wanted if one.replica_of is not None}


def test_a_raised_limit_searches_on_and_trains_who_leads_then() -> None:
    events = searched()
    before = replicas_of(history_of(events))
    history = history_of(searched(limits=Limits(trials=40), recorded=events))
    assert len(history.trials) == 40
    after = replicas_of(history)
    leading = Replicas(3, 3).leaders(history)
    assert all(len(after[one.spec.trial]) == 2 for one in leading)
    assert before.keys() <= after.keys()


def test_where_seeds_play_no_role_the_search_goes_on_with_what_was_kept_free() -> None:
    history = history_of(searched("curve", lanes=2))
    assert len(history.trials) == 20
    # A third may have begun before the second had ended.
    assert 2 <= sum(len(some) for some in replicas_of(history).values()) <= 3
    assert history.is_seedless
    first = [one for one in history.trials.values() if one.replica_of is None]
    assert history.best is min(first, key=history.value)


def test_the_reason_says_what_was_kept_for_replicas_in_vain() -> None:
    history = history_of(searched(limits=Limits(trials=8), pruner="asha"))
    assert history.finish is not None
    assert history.finish.reason == "8 trials, 2 of them kept for replicas and not begun"
    assert len(history.trials) == 6
    history = history_of(searched())
    assert history.finish is not None
    assert history.finish.reason == "20 trials"


def test_what_cannot_lead_frees_what_was_kept_for_it() -> None:
    # Two of three trials fail or diverge.
    history = history_of(searched("sometimes", limits=Limits(trials=12), lanes=1))
    assert len(history.trials) >= 11
    assert history.is_seedless


def test_a_config_that_breaks_off_with_another_seed_is_not_the_best() -> None:
    def told(number: int, seed: int, loss: float, of: int | None = None) -> Iterable[Event]:
        yield TrialStarted(TrialSpec(number, {"x": of or number}, seed, 4, (4,), 4, 0), 1.0, "", of)
        if math.isfinite(loss):
            yield TrialReported(Report(number, 4, 4, 0.0, {"val_loss": loss}), 2.0)
        yield TrialFinished(number, "completed" if math.isfinite(loss) else "diverged", 3.0)

    history = History(VALUES)
    values = [
        (0, 0.1, None),
        (1, 0.2, None),
        (2, 0.9, None),
        (3, 0.11, 0),
        (4, math.inf, 0),
        (5, 0.21, 1),
        (6, 0.2, 1),
    ]
    for number, loss, of in values:
        for event in told(number, number, loss, of):
            history.tell(event)
    assert history.best is history.trials[1]
    assert math.isinf(history.judged[0][0].mean)
    assert history.judged[1][0].seeds == 3
    assert ended(history, history.trials[0])[1:] == [
        "0 of the 5 other completed trials ended better.",
        "Its config is not judged: with 1 of 3 seeds it broke off (trial 4).",
    ]
    assert ended(history, history.trials[2])[1:] == ["5 of the 5 other completed trials ended better."]


def test_members_of_a_front_are_trained_again_and_compared_by_their_means() -> None:
    history = history_of(searched(objective=TWO, limits=Limits(trials=30)), TWO)
    found = replicas_of(history)
    assert [len(some) for some in found.values()] == [2, 2, 2]
    front = history.front
    assert history.best in front
    means = [tuple(part.mean for part in history.judged[one.spec.trial]) for one in front]
    assert all(one.replica_of is None for one in front)
    assert not any(a != b and a[0] <= b[0] and a[1] <= b[1] for a in means for b in means)


def test_what_another_seed_said_changes_nothing_of_who_leads_a_front() -> None:
    history = History(TWO)
    for number, (loss, price, of) in enumerate([(1.0, 5.0, None), (2.0, 2.0, None), (0.5, 1.0, 0)]):
        history.tell(TrialStarted(TrialSpec(number, {"x": of or number}, number, 4, (4,), 4, 0), 1.0, "", of))
        history.tell(TrialReported(Report(number, 4, 4, 0.0, {"val_loss": loss, "price": price}), 2.0))
        history.tell(TrialFinished(number, "completed", 3.0))
    # The replica beats both, its own first trial among them.
    assert [one.spec.trial for one in Replicas(3, 2).leaders(history)] == [0, 1]


def test_a_front_of_means_is_shown_with_them() -> None:
    history = history_of(searched(objective=TWO, limits=Limits(trials=30)), TWO)
    lines = summary(history).splitlines()
    assert lines[0] == f"front: {len(history.front)} trials that no other beats, by means over their seeds"
    first = history.judged[history.front[0].spec.trial]
    assert lines[2].split()[1:] == [f"{part.mean:.4g}" for part in first]


def test_without_replicas_one_seed_decides() -> None:
    history = history_of(searched(replicas=Replicas()))
    assert not history.judged
    assert history.best is min(history.trials.values(), key=history.value)


def test_rows_of_leading_configs_stay_until_the_winner_is_known(tmp_path: Path) -> None:
    class Saving(InlineRunner):
        def poll(self, timeout: float) -> list:
            events = []
            for event in super().poll(timeout):
                if isinstance(event, TrialFinished):
                    row = f"rows/trial-{event.trial:05d}.safetensors"
                    (tmp_path / "rows").mkdir(exist_ok=True)
                    (tmp_path / row).touch()
                    event = replace(event, row=row)
                events.append(event)
            return events

        def test(self, spec: TrialSpec, row: str) -> dict[str, float]:
            tested.append(spec.trial)
            return {"test_loss": 1.0}

    tested: list[int] = []
    events = searched(runner=Saving(Target(f"{SAMPLE}:noisy"), 2), folder=tmp_path)
    history = history_of(events)
    assert history.best is not None
    end = events[-1]
    assert isinstance(end, StudyFinished)
    assert (end.best, tested) == (history.best.spec.trial, [history.best.spec.trial])
    left = {int(path.name[6:11]) for path in (tmp_path / "rows").iterdir()}
    assert left <= {*replicas_of(history)} | {history.best.spec.trial}
    assert history.best.spec.trial in left


def study(**sections) -> configs.StudyConfig:
    table = {"task": f"{SAMPLE}:noisy", **sections}
    return configs.build(table, "study.toml", Path.cwd())


def test_by_default_a_fifth_of_the_trials_at_most() -> None:
    assert [usual(most).most for most in (None, 8, 19, 20, 29, 30, 32, 1000)] == [0, 0, 0, 4, 4, 6, 6, 6]
    assert study().replicas() == Replicas(3, 3), "of 32 trials"
    assert study(limits={"trials": 10}).replicas() == Replicas()
    assert study(limits={"total_steps": 20 * 500}).replicas() == Replicas(3, 2)
    assert study(limits={"seconds": 60.0}).replicas() == Replicas()
    assert study(search={"sampler": "grid"}).replicas() == Replicas()
    assert study(seeds={"replicas": 1}).replicas().seeds == 1


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"seeds": {"replicas": 0}}, "replicas = 0 must be 'auto' or a whole number of at least 1"),
        (
            {"seeds": {"replicas": 3}, "limits": {"trials": 6}},
            r"replicas = 3: 6 trials for the 3 leading configs leave none to search: \[limits\] trials = 6 "
            "must be at least 7",
        ),
        (
            {"seeds": {"replicas": 3}, "limits": {"total_steps": 900}, "trial": {"steps": 300}},
            r"\[limits\] total_steps = 900 must be at least 2100",
        ),
        ({"seeds": {"replicates": 3}}, r"\[seeds\]: unknown key 'replicates'; did you mean 'replicas'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(sections: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        study(**sections)


def test_every_view_says_by_how_many_seeds_the_winner_was_judged() -> None:
    history = history_of(searched())
    assert history.best is not None
    found = history.judged[history.best.spec.trial][0]
    numbers = ", ".join(str(one.spec.trial) for one in history.seeds(history.best))
    plain = np.mean([history.value(one) for one in history.seeds(history.best)])
    line = (
        f"judged by 3 seeds: val_loss {plain:.4g} on average, {found.mean:.4g} expected of further seeds, "
        f"{found.low:.4g} to {found.high:.4g} at 95% (trials {numbers})"
    )
    assert line in summary(history)
    assert table(history, history.best)["mean"] == found.mean
    assert "judged by one seed, so that part of" in summary(history_of(searched(replicas=Replicas())))
    assert "others gave the same" in summary(history_of(searched("curve")))

    runs = Runs()
    for event in [replace(BEGIN, study={"metric": "val_loss"}), *searched()[1:]]:
        runs.tell(event)
    assert runs.study.tags["hpo.best_seeds"] == "3"
    assert float(runs.study.tags["hpo.best_low"]) == found.low
    again = [run for run in runs.runs.values() if "hpo.replica_of" in run.tags]
    assert len(again) == 6


def test_of_what_is_maximised_the_mean_is_shown_as_the_user_knows_it() -> None:
    objective = Objective("val_loss", "max")
    history = history_of(searched(objective=objective), objective)
    assert history.best is not None
    found = judgement(history, history.best)
    assert found is not None
    assert found.low < found.mean < found.high
    values = [one.metrics["val_loss"] for one in history.seeds(history.best)]
    assert min(values) - 0.3 < found.mean < max(values) + 0.3
