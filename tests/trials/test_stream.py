"""Data too large for the device: one order of batches for all lanes, read in the background."""

import pickle
import threading
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trials_sample import CPU, finish, reports_agree, spec
from trials.data.stream import Reader, Stream, chunks
from trials.drive import Drive
from trials.lanes import Lanes
from trials.recipe import recipe
from trials.task import Splits
from trials.train import build, to_device, train


class Examples:
    """A dataset that counts what is read, and by which thread."""

    def __init__(self, count: int) -> None:
        made = torch.Generator().manual_seed(count)
        self.x = torch.randn(count, 3, generator=made)
        self.read: list[int] = []
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read.append(index)
        self.threads.add(threading.get_ident())
        return {"x": self.x[index], "y": float(self.x[index].sum())}


class Streamed:
    """Regression on streamed examples."""

    def __init__(self, train: Any, val: Any) -> None:
        self.train, self.val = train, val

    def data(self, split_seed: int) -> Splits:
        return Splits(Stream(self.train, readers=2), Stream(self.val, readers=2))

    def model(self, config: Mapping[str, object]) -> nn.Module:
        return nn.Linear(3, 1)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], hyper: Mapping[str, Tensor]) -> Tensor:
        return (model(batch["x"])[:, 0] - batch["y"]).square().mean()

    def metrics(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {"loss": (model(batch["x"])[:, 0] - batch["y"]).square()}


CONFIG = {"lr": 0.05, "batch_size": 8}


def test_a_trial_does_not_notice_its_neighbours_nor_when_it_was_admitted() -> None:
    task = Streamed(Examples(50), Examples(20))
    splits = task.data(0)
    drive = Drive(Lanes(build(task, splits, recipe(task, CONFIG), CPU), 3), tick=4)
    specs = [spec({**CONFIG, "lr": 0.02 * (trial + 1)}, trial, budget=12, rungs=(5,)) for trial in range(4)]
    heard: dict[int, list[Any]] = {}
    waiting = list(specs)
    drive.admit(waiting.pop(0))
    while len(drive) or waiting:
        for said in drive.tick():
            if hasattr(said, "metrics"):
                heard.setdefault(said.trial, []).append(said)
        if waiting and drive.room():
            drive.admit(waiting.pop(0))
    for one in specs:
        reports_agree(heard[one.trial], list(train(task, one, splits=splits, device=CPU)))


def test_lanes_at_the_same_step_share_a_reading_and_threads_read_ahead() -> None:
    examples = Examples(64)
    task = Streamed(examples, Examples(16))
    lanes = Lanes(build(task, task.data(0), recipe(task, CONFIG), CPU), 4)
    drive = Drive(lanes, tick=4)
    for trial in range(4):
        drive.admit(spec(CONFIG, trial, budget=8))
    examples.read.clear()
    finish(drive)
    # Eight steps of eight examples, once for all four lanes, and one tick read ahead at the most.
    assert 64 <= len(examples.read) <= 64 + 4 * 8
    assert threading.get_ident() not in examples.threads - {threading.main_thread().ident}


def test_every_example_is_seen_once_an_epoch() -> None:
    reader = Reader(Stream(Examples(20)), seed=3, batch_size=5)
    seen = torch.cat([reader.batch(step)["x"] for step in range(4)])
    assert len({tuple(one) for one in seen.tolist()}) == 20


def test_what_no_lane_will_want_is_let_go() -> None:
    reader = Reader(Stream(Examples(20)), seed=3, batch_size=5)
    first = reader.batch(0)["x"]
    reader.expect([100, 103], 4)
    assert set(reader._read) == {100, 101, 102, 103, 104, 105, 106}
    assert torch.equal(reader.batch(0)["x"], first), "and can be had again"


def test_the_chunks_of_a_stream_are_those_of_its_tensors() -> None:
    examples = Examples(23)
    found = list(chunks(Stream(examples), 10, CPU))
    assert [len(part["x"]) for part in found] == [10, 10, 3]
    assert torch.equal(torch.cat([part["x"] for part in found]), examples.x)


def test_a_stream_stays_where_it_is() -> None:
    splits = Streamed(Examples(8), Examples(4)).data(0)
    assert to_device(splits, CPU).train is splits.train


class Odd(Examples):
    def __getitem__(self, index: int) -> dict[str, Any]:
        found = super().__getitem__(index)
        return {**found, "x": found["x"][:2]} if index == 3 else found


def test_bad_streams_are_refused_with_the_place() -> None:
    with pytest.raises(ValueError, match="empty"):
        Stream([])
    with pytest.raises(ValueError, match="readers=0"):
        Stream(Examples(2), readers=0)
    with pytest.raises(ValueError, match=r"example 0 of the stream is tuple.*collate"):
        Stream([(1.0, 2.0)])
    with pytest.raises(ValueError, match=r"example 3 .* differs from the first"):
        Stream(Odd(5)).gather([0, 3])
    with pytest.raises(ValueError, match="'val' differs from 'train'"):
        Splits(Stream([{"x": 1.0}]), Stream([{"x": [1.0, 2.0]}]))


def test_examples_that_are_no_mapping_go_through_collate() -> None:
    stream = Stream([([1.0, 2.0], 3)], collate=lambda one: {"x": one[0], "y": one[1]})
    assert stream.gather([0])["y"].tolist() == [3]


def test_a_stream_travels_to_another_process_without_its_threads() -> None:
    stream = Stream(Examples(6))
    first = stream.later([0, 1]).result()
    again = pickle.loads(pickle.dumps(stream))
    assert torch.equal(again.later([0, 1]).result()["x"], first["x"])


def test_what_could_not_be_read_once_is_read_again() -> None:
    class Shaky(Examples):
        def __getitem__(self, index: int) -> dict[str, Any]:
            found = super().__getitem__(index)
            if len(self.read) == 3:
                raise OSError("the disk is asleep")
            return found

    reader = Reader(Stream(Shaky(10), readers=1), seed=0, batch_size=4)
    with pytest.raises(OSError, match="asleep"):
        reader.batch(0)
    assert reader.batch(0)["x"].shape == (4, 3)


def test_a_reader_that_raises_fails_the_tick_with_its_own_error() -> None:
    class Broken(Examples):
        def __getitem__(self, index: int) -> dict[str, Any]:
            if index > 5:
                raise OSError("cannot read file 6")
            return super().__getitem__(index)

    task = Streamed(Broken(30), Examples(4))
    drive = Drive(Lanes(build(task, task.data(0), recipe(task, CONFIG), CPU), 1))
    drive.admit(spec(CONFIG, 0))
    with pytest.raises(OSError, match="cannot read file 6"):
        drive.tick()
