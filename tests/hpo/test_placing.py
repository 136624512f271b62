"""Which worker a trial goes to, and how CUDA devices are counted and shared out."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.runners.placing import cuda_devices, devices, placed, structure, visible_devices
from tests.strategies import law

kinds = st.integers(0, 3).map(lambda width: structure({"width": width, "lr": 0.1}))


@law
@given(data=st.data(), workers=st.integers(1, 4), lanes=st.integers(1, 8))
def test_loads_stay_even_and_nobody_is_given_more_than_it_takes(data, workers, lanes):
    """Trials come and go in any order, of any structure; where none has gone, loads differ by at most one."""
    running: list[list] = [[] for _ in range(workers)]
    only_came = True
    for _ in range(data.draw(st.integers(1, 6))):
        free = [lanes - len(one) for one in running]
        wanted = data.draw(st.lists(kinds, max_size=sum(free)))
        places = placed(wanted, running, free)
        before = [len(one) for one in running]
        assert None not in places
        for kind, place in zip(wanted, places, strict=True):
            running[place].append(kind)
        assert all(len(one) <= lanes for one in running)
        after = [len(one) for one in running]
        # A worker that was given a trial has no more than one that has fewest, and one.
        given_to = [worker for worker in range(workers) if after[worker] > before[worker]]
        assert all(after[worker] <= min(after) + 1 for worker in given_to)
        if only_came:
            assert max(after) - min(after) <= 1
        for one in running:
            for _ in range(data.draw(st.integers(0, len(one)))):
                one.pop(data.draw(st.integers(0, len(one) - 1)))
                only_came = False


def test_a_trial_that_nobody_takes_has_no_place():
    assert placed([(), (), ()], [[], []], [1, 0]) == [0, None, None]


def test_equal_structures_go_together_where_loads_stay_even():
    wide, narrow = structure({"width": 32}), structure({"width": 8})
    places = placed([wide, narrow, wide, narrow], [[], []], [4, 4])
    assert places[0] == places[2] != places[1] == places[3]


def test_floats_and_schedules_do_not_tell_structures_apart():
    one = structure({"lr": 0.1, "width": 8, "schedule": "cosine"})
    assert one == structure({"lr": 0.2, "width": 8, "schedule": "rex"})
    assert one != structure({"lr": 0.1, "width": 16, "schedule": "cosine"})


@pytest.mark.parametrize(
    ("present", "setting", "expected"),
    [
        (4, None, 4),
        (4, "", 0),
        (4, "-1", 0),
        (4, "0,1,2,3", 4),
        (4, " 2 , 3 ", 2),
        (4, "0,4,1", 1),
        (4, "0,0", 0),
        (4, "1,x,2", 1),
        (4, "GPU-aa,GPU-bb", 2),
        (1, "GPU-aa,GPU-bb", 1),
        (4, "MIG-aa,MIG-bb", 1),
        (0, "0", 0),
        (0, None, 0),
    ],
)
def test_devices_are_counted_as_cuda_reads_its_setting(present, setting, expected):
    assert visible_devices(present, setting) == expected


def test_devices_are_counted_by_files_of_the_driver(tmp_path: Path):
    driver, nodes = tmp_path / "gpus", tmp_path / "dev"
    nodes.mkdir()
    assert cuda_devices({}, driver, nodes) == 0
    for name in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (driver / name).mkdir(parents=True)
    assert cuda_devices({}, driver, nodes) == 3
    for name in ("nvidia0", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (nodes / name).touch()
    assert cuda_devices({}, driver, nodes) == 2
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": "1"}, driver, nodes) == 1


@pytest.mark.parametrize("wanted", ["", "cuda"])
def test_cuda_devices_are_given_to_workers_in_turn(wanted):
    given_out = devices(wanted, 5, present=2)
    assert Counter(given_out) == {"cuda:0": 3, "cuda:1": 2}
    # Where there is none, what was asked for is left to the worker to refuse.
    assert devices(wanted, 2, present=0) == [wanted] * 2
