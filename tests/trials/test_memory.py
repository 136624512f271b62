"""Memory that runs out, for real, and what a lane is estimated to take."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.trials_sample import CPU, SMALL, close, program
from trials.capacity import Estimate, estimate, fewest_near_best, lanes_for, measure
from trials.memory import free_bytes, peak_bytes
from trials.spec import is_out_of_memory


def under_a_limit(lanes: int, megabytes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.memory_sample", str(lanes), str(megabytes)]
    # What is freed goes back to the system, so that the limit is felt by what is alive.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_half_of_the_lanes_wait_on_the_host_and_nothing_is_lost() -> None:
    found = under_a_limit(8, 350)
    assert found["reduced"], "the limit was not felt"
    lanes, parked = found["reduced"][0]
    assert lanes == 4
    assert parked == [4, 5, 6, 7], "the youngest wait"
    assert set(found["outcomes"].values()) == {"completed"}
    assert found["short"].keys() == found["free"].keys()
    for trial, reports in found["free"].items():
        for one, other in zip(found["short"][trial], reports, strict=True):
            assert one[0] == other[0]
            close(one[1:], other[1:], "training")


@pytest.mark.parametrize(("lanes", "megabytes"), [(8, 250), (2, 80)])
def test_lanes_are_halved_again_and_again_and_what_was_done_counts(lanes: int, megabytes: int) -> None:
    found = under_a_limit(lanes, megabytes)
    assert found["reduced"][-1][0] == lanes // 4 or lanes == 2
    assert set(found["outcomes"].values()) == {"completed"}
    for trial, reports in found["short"].items():
        for one, other in zip(reports, found["free"][trial], strict=True):
            assert one[0] == other[0]
            close(one[1:], other[1:], "training")


def test_one_lane_that_does_not_fit_ends_its_trial_and_no_other() -> None:
    found = under_a_limit(2, 20)
    assert set(found["outcomes"].values()) == {"out_of_memory"}
    assert [lanes for lanes, _ in found["reduced"]] == [1]


def test_what_counts_as_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_peak_counts_what_is_alive_at_once_and_no_view() -> None:
    given = torch.zeros(1000)

    def made() -> None:
        for _ in range(5):
            first = given + 1  # 4000 bytes, freed before the next round's second is made
            first.view(10, 100).mul_(2)
        second = torch.cat([given, given])  # 8000 bytes beside the last `first`
        assert second.shape == (2000,)

    assert 8000 + 4000 <= peak_bytes(made, CPU) <= 8000 + 2 * 4000


def test_a_row_is_weights_buffers_state_and_small_change() -> None:
    one = program("digits", {**SMALL["digits"], "norm": "batch"})
    found = estimate(one, {**SMALL["digits"], "norm": "batch"})
    numbers = one.layout.weight_count * 3 + one.layout.buffer_count + len(one.float_names)
    assert found.held == 4 * numbers + 16
    # At least the gradient and the images of the batch as floats.
    assert found.working > 4 * one.layout.weight_count + 8 * 64 * 4
    assert found.lane == found.held + found.working


def test_free_memory_is_a_number_of_this_machine() -> None:
    assert 10**7 < free_bytes(CPU) < 10**14


def test_as_few_lanes_as_train_nearly_as_fast() -> None:
    assert fewest_near_best({1: 100.0, 2: 150.0, 4: 200.0, 8: 205.0, 16: 190.0}) == 4
    assert fewest_near_best({1: 100.0}) == 1


def test_measured_once_and_remembered(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    config = SMALL["tabular"]
    one = program("tabular", config)
    found = lanes_for(one, config, at_most=8, is_compiled=False)
    (path,) = (tmp_path / "lanes").glob("*.json")
    rates = json.loads(path.read_text())
    assert [int(lanes) for lanes in rates] == [1, 2, 4, 8][: len(rates)]
    assert len(rates) >= 3
    assert found == fewest_near_best({int(lanes): rate for lanes, rate in rates.items()})
    path.write_text(json.dumps({"1": 1.0, "2": 100.0}))
    assert lanes_for(one, config, at_most=8, is_compiled=False) == 2
    assert lanes_for(one, config, at_most=8, is_compiled=True) == 4, "a compiled call takes four rows"
    for damaged in ("not json", "{}", '{"1": null}', '{"4": NaN}', '{"0": 5}', '{"900": 1}', "[1]"):
        path.write_text(damaged)
        assert 1 <= lanes_for(one, config, at_most=8, is_compiled=False) <= 8


def test_lanes_that_do_not_fit_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SMALL["tabular"]
    one = program("tabular", config)
    monkeypatch.setattr("trials.capacity.free_bytes", lambda device: 10**6)
    monkeypatch.setattr("trials.capacity.estimate", lambda program, config: Estimate(100_000, 100_000, 0))
    rates, is_final = measure(one, config, 64)
    assert list(rates) == [1, 2, 4]
    assert not is_final, "memory was short at this moment only"
