"""A task's data in memory that all workers map: loaded by the first that needs it, copied by none.

The search process makes a file without a name, in memory, before there are workers, and hands it to all of
them. Whoever locks it first loads the data and writes it down; the others map the same pages. They are mapped
copy on write, so a task that changes its data in place changes its own alone.

`Task.data` may also set attributes that `Task.model` needs. Those that changed are written down beside the
data. What cannot be handed on (an attribute that cannot be pickled, a global of the task's module) is found
out, and every worker then loads its own.

Layout: a header, the storages of the tensors, a pickle of all else. The header is written last, and a lock
ends with the process that has it: a worker killed at any moment leaves a file that counts as empty.
"""

import fcntl
import io
import mmap
import os
import pickle
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from trials.task import Splits, Task
from trials.train import load_splits
from trials.validation import PLAIN, Validation

_HEADER = struct.Struct("<8sQQ")  # what follows, and where the pickle lies: offset and length in bytes
_DATA, _OWN = b"hpo data", b"hpo none"
_FIRST, _ALIGNED = 4096, 64  # offset of the first storage; storages begin at multiples of a cache line
_FOREIGN = ("builtins.", "typing.", "abc.", "trials.")  # modules of base classes that no task changes

_HOST = torch.device("cpu")


@dataclass(frozen=True)
class Loaded:
    """The data of a task, on the host."""

    splits: Splits
    problem: str = ""  # why this worker has a copy of its own


class SharedData:
    """The memory that workers share, by its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def load(self, task: Task, split_seed: int, validation: Validation = PLAIN) -> Loaded:
        """The task's data, from whoever loaded it first; loaded here when nobody has.

        Attributes that `Task.data` sets are set in either case.

        Raises:
            Exception: whatever `Task.data` raises.
        """
        # A lock belongs to an open file, and the descriptor is one file in all workers: it is opened again.
        file = os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            held = os.pread(file, _HEADER.size, 0)
            kind = _HEADER.unpack(held)[0] if len(held) == _HEADER.size else b""
            if kind == _DATA:
                return Loaded(_adopt(task, _read(file)))
            if kind != _OWN:
                return _load_first(file, task, split_seed, validation)
        finally:
            # Closing is not enough: what is mapped keeps the file open.
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)
        return Loaded(load_splits(task, split_seed, _HOST, validation))


def _load_first(file: int, task: Task, split_seed: int, validation: Validation) -> Loaded:
    """Load the data and write it down for the others; this worker then maps it like them."""
    before = _Facts(task)
    splits = load_splits(task, split_seed, _HOST, validation)
    try:
        problem = before.problem()
        if not problem:
            changed, removed = before.changes()
            _write(file, (splits, changed, removed))
            return Loaded(_adopt(task, _read(file)))
    except Exception as error:  # noqa: BLE001 - pickling runs the user's code; and memory may be short
        problem = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0]
    os.ftruncate(file, 0)
    os.pwrite(file, _HEADER.pack(_OWN, 0, 0), 0)
    return Loaded(splits, problem)


def _adopt(task: Task, state: tuple[Splits, Mapping[str, Any], list[str]]) -> Splits:
    """Set what `Task.data` changed in the task, give the data."""
    splits, changed, removed = state
    for name in removed:
        vars(task).pop(name, None)
    vars(task).update(changed)
    return splits


# -- what a task's `data` changes --------------------------------------------------------------------------


class _Facts:
    """What a task's attributes, classes and modules held before its data was loaded."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._attributes = {name: (value, _dumped(value)) for name, value in _attributes(task).items()}
        self._tables = {where: _held(table) for where, table in _tables(task).items()}

    def problem(self) -> str:
        """Why what has changed cannot be handed on; "" when it can."""
        if not hasattr(self._task, "__dict__"):
            return f"{type(self._task).__name__} has __slots__, so its attributes cannot be handed on"
        for where, table in _tables(self._task).items():
            before = self._tables[where]
            for name, (value, dump) in _held(table).items():
                if name not in before or before[name][0] is not value or before[name][1] != dump:
                    return (
                        f"Task.data changes {name!r} of {where}, which other workers would not see: "
                        f"make it an attribute of the task"
                    )
        return ""

    def changes(self) -> tuple[dict[str, Any], list[str]]:
        """Attributes of the task that are new or other than before, and names of those that are gone."""
        now = _attributes(self._task)
        changed = {
            name: value
            for name, value in now.items()
            if name not in self._attributes
            or self._attributes[name][0] is not value
            or self._attributes[name][1] != _dumped(value)
        }
        return changed, [name for name in self._attributes if name not in now]


def _attributes(task: Task) -> dict[str, Any]:
    return dict(getattr(task, "__dict__", {}))


def _tables(task: Task) -> dict[str, Mapping[str, Any]]:
    """The namespaces a task's code is likely to write to, beside the task itself."""
    own = [one for one in type(task).__mro__ if not f"{one.__module__}.".startswith(_FOREIGN)]
    modules = {one.__module__: sys.modules.get(one.__module__) for one in own}
    return {
        **{f"class {one.__name__}": vars(one) for one in own},
        **{f"module {name}": vars(module) for name, module in modules.items() if module is not None},
    }


def _held(table: Mapping[str, Any]) -> dict[str, tuple[Any, bytes | None]]:
    """Name -> value, and for what is changed in place its contents; Python's own names left out."""
    containers = (dict, list, set, bytearray)
    return {
        name: (value, _dumped(value) if isinstance(value, containers) else None)
        for name, value in table.items()
        if not name.startswith("__")
    }


def _dumped(value: Any) -> bytes | None:
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001 - the user's code: then only another object in its place is a change
        return None


# -- memory ------------------------------------------------------------------------------------------------


def _write(file: int, state: object) -> None:
    text = io.BytesIO()
    writer = _Writer(text, file)
    writer.dump(state)
    _put(file, memoryview(text.getbuffer()), writer.end)
    os.pwrite(file, _HEADER.pack(_DATA, writer.end, text.tell()), 0)


def _read(file: int) -> Any:
    _, offset, length = _HEADER.unpack(os.pread(file, _HEADER.size, 0))
    memory = mmap.mmap(file, offset + length, access=mmap.ACCESS_COPY)
    return _Reader(io.BytesIO(memory[offset : offset + length]), memory).load()


def _put(file: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


class _Writer(pickle.Pickler):
    """Pickles all but plain tensors; of these it puts the storages into the file, each once."""

    def __init__(self, text: io.BytesIO, file: int) -> None:
        super().__init__(text, protocol=pickle.HIGHEST_PROTOCOL)
        self._file, self.end = file, _FIRST
        # Address of a storage -> offset, and the storage: let go of, it would leave its address to others.
        self._places: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def persistent_id(self, obj: Any) -> Any:
        """Where a tensor lies, None for anything else."""
        is_plain = (
            type(obj) is torch.Tensor
            and obj.layout is torch.strided
            and obj.device.type == "cpu"
            and not (obj.requires_grad or obj.is_conj() or obj.is_neg() or obj.is_quantized)
        )
        if not is_plain:
            return None
        storage = obj.untyped_storage()
        if storage.data_ptr() not in self._places:
            self._places[storage.data_ptr()] = self.end, storage
            _put(self._file, memoryview(cast(Any, _bytes_of(storage).numpy())), self.end)
            self.end += -(-storage.nbytes() // _ALIGNED) * _ALIGNED
        place, _ = self._places[storage.data_ptr()]
        return place, storage.nbytes(), obj.dtype, obj.storage_offset(), tuple(obj.shape), obj.stride()


class _Reader(pickle.Unpickler):
    """Undoes a `_Writer`; tensors are views of the memory, and keep it."""

    def __init__(self, text: io.BytesIO, memory: mmap.mmap) -> None:
        super().__init__(text)
        self._memory = memory
        self._storages: dict[int, torch.UntypedStorage] = {}

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """The tensor that lies there."""
        place, size, dtype, first, shape, stride = pid
        if not size:
            return torch.empty(shape, dtype=dtype)
        if place not in self._storages:
            whole = torch.frombuffer(self._memory, dtype=torch.uint8, count=size, offset=place)
            self._storages[place] = whole.untyped_storage()
        return torch.empty(0, dtype=dtype).set_(self._storages[place], first, shape, stride)


def _bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, (storage.nbytes(),), (1,))
