"""Which worker a trial goes to, and which device a worker has: decided without loading torch.

CUDA must not be touched before workers are forked, so devices are counted by what the driver shows in files.
"""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from trials.spec import Config

Structure = tuple[tuple[str, str], ...]

_DRIVER, _NODES = Path("/proc/driver/nvidia/gpus"), Path("/dev")


def structure(config: Config) -> Structure:
    """What of a config is likely to pick the program: all but floats. Only used to place trials together."""
    named = {name: value for name, value in config.items() if not isinstance(value, float)}
    named.pop("schedule", None)
    return tuple(sorted((name, str(value)) for name, value in named.items()))


def placed(
    structures: Sequence[Structure], running: Sequence[Collection[Structure]], free: Sequence[int]
) -> list[int | None]:
    """The worker for each trial: loads as even as they can be, then equal structures together.

    Args:
        structures: of the trials to place.
        running: for each worker, the structures of the trials it has.
        free: for each worker, how many more it takes. A trial that nobody takes has None.

    >>> placed([(("width", 8),), (("width", 16),), (("width", 8),)], [[], []], [4, 4])
    [0, 1, 0]
    """
    # An even load comes first: a lane too many on one core costs more than one more program.
    quotas = [0] * len(free)
    for _ in structures:
        takers = [worker for worker, most in enumerate(free) if quotas[worker] < most]
        if takers:
            quotas[min(takers, key=lambda worker: len(running[worker]) + quotas[worker])] += 1
    common = Counter(structures)
    kinds = [set(one) for one in running]
    found: list[int | None] = [None] * len(structures)

    def preference(worker: int, kind: Structure) -> tuple[bool, int]:
        return kind in kinds[worker], quotas[worker]

    # The most common structure first, so that it finds a worker with room for all of it.
    for trial in sorted(range(len(structures)), key=lambda n: (-common[structures[n]], structures[n])):
        takers = [worker for worker, quota in enumerate(quotas) if quota]
        if takers:
            kind = structures[trial]
            worker = max(takers, key=lambda worker: preference(worker, kind))
            kinds[worker].add(kind)
            quotas[worker] -= 1
            found[trial] = worker
    return found


def visible_devices(present: int, setting: str | None) -> int:
    """How many of the CUDA devices there are a process sees, by what CUDA_VISIBLE_DEVICES says.

    As CUDA reads it: a device that is not there ends the list, one named twice empties it, and of the
    slices of a device (MIG) a process has one.

    >>> [visible_devices(4, setting) for setting in (None, "2,3", "0,9,1", "")]
    [4, 2, 1, 0]
    """
    if setting is None:
        return present
    seen: list[str] = []
    for entry in map(str.strip, setting.split(",")):
        if entry.startswith("MIG-"):
            return 1
        if not (entry.startswith("GPU-") or (entry.isdecimal() and int(entry) < present)):
            break
        if entry in seen:
            return 0
        seen.append(entry)
    return min(present, len(seen))


def cuda_devices(
    environment: Mapping[str, str] = os.environ, driver: Path = _DRIVER, nodes: Path = _NODES
) -> int:
    """How many CUDA devices a process of this user sees; 0 without a driver."""
    known = len(list(driver.glob("*")))
    # In a container the driver may list devices whose files were not handed in.
    given = sum(path.name.removeprefix("nvidia").isdecimal() for path in nodes.glob("nvidia*"))
    return visible_devices(min(known, given) or max(known, given), environment.get("CUDA_VISIBLE_DEVICES"))


def devices(wanted: str, workers: int, present: int) -> list[str]:
    """The device of each worker: CUDA devices in turn, where no single device was asked for.

    >>> devices("", 3, present=2), devices("cpu", 2, present=2), devices("cuda:1", 2, present=2)
    (['cuda:0', 'cuda:1', 'cuda:0'], ['cpu', 'cpu'], ['cuda:1', 'cuda:1'])
    """
    if wanted in ("", "cuda") and present:
        return [f"cuda:{worker % present}" for worker in range(workers)]
    return [wanted] * workers
