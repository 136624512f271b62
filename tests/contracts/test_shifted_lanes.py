"""Laws of rows that train on augmentation families, and what they may be scored on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import law
from tests.trials_sample import CPU, close, reports_agree, spec, task
from trials.compiling import package_name
from trials.data.families.table import FAMILIES
from trials.drive import Drive, Ended
from trials.folds import FoldedDrive
from trials.lanes import Lanes
from trials.noise import step_key
from trials.program import Program
from trials.recipe import recipe
from trials.scoring import untrained
from trials.spec import Report, TrialSpec
from trials.train import build, load_splits, train
from trials.validation import TRAINS, Validation

FAMILIES_HERE = tuple(FAMILIES["image"])[:3]
A, B, C = FAMILIES_HERE
SETS = ("none", A, B, f"{A}+{C}", f"{B}+{C}", "all")
VALIDATION = Validation("shifted-kfold", FAMILIES_HERE, folds_for="all", trained=("all",))
SPLITS = load_splits(task("digits"), 0, CPU, VALIDATION)
SMALL = {"width": 2, "batch_size": 8, "lr": 0.02}


def program(families: str = "all") -> Program:
    parts = recipe(task("digits"), {**SMALL, "train_families": families}, SPLITS.views)
    return build(task("digits"), SPLITS, parts, CPU)


PROGRAM = program()


def shifted(families: str, trial: int = 0, folds="none", budget: int = 8, **more) -> TrialSpec:
    from dataclasses import replace

    one = spec({**SMALL, "train_families": families, **more}, trial, budget=budget, rungs=(4,))
    return replace(one, folds=folds)


def alone(one: TrialSpec, lanes: int = 1) -> list[Report]:
    return list(train(task("digits"), one, splits=SPLITS, device=CPU, lanes=lanes, tick=4))


def together(specs: list[TrialSpec], capacity: int, tick: int = 4) -> tuple[dict, dict]:
    """Reports and ends of trials that share lanes, each admitted as soon as there is one."""
    drive = FoldedDrive(Drive(Lanes(PROGRAM, capacity), tick))
    waiting, reports, ends = list(specs), {}, {}
    while waiting or len(drive):
        while waiting and drive.room():
            drive.admit(waiting.pop(0))
        for said in drive.tick():
            if isinstance(said, Report):
                reports.setdefault(said.trial, []).append(said)
            elif isinstance(said, Ended):
                ends[said.trial] = said
    return reports, ends


# -- which example a row sees -----------------------------------------------------------------------------


@given(
    masks=st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=4),
    share=st.sampled_from([0.0, 0.3, 0.75, 1.0]),
    step=st.integers(0, 10**6),
)
@law
def test_a_row_sees_originals_and_copies_of_the_families_of_its_mask_and_no_others(masks, share, step):
    hyper = torch.zeros(len(masks), len(PROGRAM.float_names))
    names = PROGRAM.float_names
    hyper[:, names.index("shift_share")] = share
    for lane, mask in enumerate(masks):
        for family, is_on in zip(SPLITS.views, mask, strict=True):
            hyper[lane, names.index(f"{TRAINS}{family}")] = float(is_on)
    index = torch.arange(200).expand(len(masks), 200)
    key = step_key(torch.arange(len(masks)), torch.full((len(masks),), step))
    seen = PROGRAM._picked(index, hyper, key)
    assert torch.equal(seen % SPLITS.train_size, index)
    for mask, views in zip(masks, seen // SPLITS.train_size, strict=True):
        allowed = {number + 1 for number, is_on in enumerate(mask) if is_on}
        assert {int(view) for view in views} <= {0, *allowed}
        if share == 1.0 and allowed:
            assert 0 not in views
        if share == 0.0 or not allowed:
            assert not views.any()


def test_copies_come_as_often_as_the_share_says_and_families_equally_often():
    names, many = PROGRAM.float_names, 60_000
    hyper = torch.zeros(1, len(names))
    hyper[0, names.index("shift_share")] = 0.6
    for family in (A, C):
        hyper[0, names.index(f"{TRAINS}{family}")] = 1.0
    seen = PROGRAM._picked(torch.zeros(1, many, dtype=torch.int64), hyper, torch.tensor([5]))
    counts = torch.bincount(seen[0] // SPLITS.train_size, minlength=4) / many
    np.testing.assert_allclose(counts, [0.4, 0.3, 0.0, 0.3], atol=0.01)


def test_the_share_is_uniform_over_the_original_and_its_copies_unless_given():
    floats = {
        named: dict(recipe(task("digits"), {**SMALL, "train_families": named}, SPLITS.views).floats)
        for named in SETS
    }
    assert [round(floats[named]["shift_share"], 9) for named in ("none", A, "all")] == [0.0, 0.5, 0.75]
    given_ = {**SMALL, "train_families": A, "shift_share": 0.1}
    assert dict(recipe(task("digits"), given_, SPLITS.views).floats)["shift_share"] == 0.1


@pytest.mark.parametrize("share", [-0.1, 1.1, True, "half"])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=r"shift_share=.* must be a number from 0 to 1"):
        recipe(task("digits"), {**SMALL, "shift_share": share}, SPLITS.views)


def test_families_cannot_be_trained_on_where_there_are_no_copies():
    with pytest.raises(ValueError, match="train_families='all': there are no training copies"):
        recipe(task("digits"), {"train_families": "all"})
    assert recipe(task("digits"), {"train_families": "none"}) == recipe(task("digits"), {})


# -- laws of lanes ----------------------------------------------------------------------------------------


@given(
    sets=st.lists(st.sampled_from(SETS), min_size=2, max_size=4),
    capacity=st.integers(1, 3),
    tick=st.integers(2, 5),
)
@law
def test_a_trial_in_any_lane_with_any_neighbours_agrees_with_the_trial_alone(sets, capacity, tick):
    specs = [shifted(families, trial) for trial, families in enumerate(sets)]
    found, _ = together(specs, capacity, tick)
    for one in specs:
        reports_agree(found[one.trial], alone(one))


def test_sets_of_families_share_a_program_and_its_trace():
    keys = {recipe(task("digits"), {**SMALL, "train_families": one}, SPLITS.views).key for one in SETS}
    assert len(keys) == 1
    assert package_name(PROGRAM, 2) == package_name(program("none"), 2)


def test_what_the_compiler_sees_computes_what_the_step_does():
    lanes = Lanes(PROGRAM, 2)
    for trial, families in enumerate(("all", A)):
        lanes.admit(shifted(families, trial))
    index = lanes._index([0, 1], 1, 2)[0]
    arguments = (*lanes._block.tensors(), torch.ones(2), index, *PROGRAM.data(2))
    copies = [one.clone() for one in arguments[:7]]
    with torch.no_grad():
        wanted = PROGRAM.step(*copies, *arguments[7:])
        found = PROGRAM.traced(2)(*arguments)
    close(found, wanted, "once")


def test_a_trial_that_trains_on_nothing_trains_as_one_of_a_plain_study():
    plain = load_splits(task("digits"), 0, CPU)
    wanted = list(train(task("digits"), spec(SMALL, budget=8, rungs=(4,)), splits=plain, device=CPU, tick=4))
    for one, other in zip(alone(shifted("none")), wanted, strict=True):
        for name, value in other.metrics.items():
            close(one.metrics[name], value, "training")


def test_families_change_what_a_trial_becomes():
    losses = {alone(shifted(families))[-1].metrics["val_loss"] for families in SETS}
    assert len(losses) == len(SETS)


def test_a_row_that_is_put_back_sees_what_it_saw():
    lanes = Lanes(PROGRAM, 2)
    lanes.admit(shifted("all"))
    mark = lanes.read(0)
    first = lanes.run(np.ones((5, 1)))
    lanes.write(0, mark)
    assert np.array_equal(lanes.run(np.ones((5, 1))), first)


# -- what a row is scored on ------------------------------------------------------------------------------


@pytest.mark.parametrize("families", SETS)
def test_a_row_is_scored_on_no_family_that_it_trains_on(families):
    lanes = Lanes(PROGRAM, 1)
    lanes.admit(shifted(families))
    trained = {A: {A}, B: {B}, "none": set(), "all": {A, B, C}}.get(families, set(families.split("+")))
    assert set(untrained(lanes, 0)) == {A, B, C} - trained
    told = alone(shifted(families))[-1].metrics
    for family in (A, B, C):
        assert (f"shifted_accuracy_{family}" in told) == (family not in trained)
    assert ("shifted_accuracy" in told) == (families == "none")


def test_a_rung_before_the_last_has_the_mean_only_and_the_last_the_families_too():
    first, last = alone(shifted("none"))
    assert {name for name in first.metrics if name.startswith("shifted_")} == {
        "shifted_loss",
        "shifted_accuracy",
    }
    each = [last.metrics[f"shifted_accuracy_{family}"] for family in (A, B, C)]
    assert last.metrics["shifted_accuracy"] == pytest.approx(np.mean(each))


def test_the_cheap_score_is_near_the_full_one():
    from trials.scoring import Asked, Scorer

    lanes = Lanes(PROGRAM, 1)
    lanes.admit(shifted("none", budget=60))
    lanes.run(np.ones((60, 1)))
    cheap, full = (Scorer(lanes).score([Asked(0, (A, B, C), is_last)])[0].means for is_last in (False, True))
    assert cheap.keys() == full.keys()
    gaps = [abs(cheap[f"{family}:accuracy"] - full[f"{family}:accuracy"]) for family in (A, B, C)]
    # A third of 360 examples: a standard error of 0.045 at most.
    assert max(gaps) < 0.15
    assert cheap["val_accuracy"] == pytest.approx(full["val_accuracy"])
