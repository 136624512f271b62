"""Many studies, side by side in processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from hpo.bench.play import Order, Run


def run(
    orders: Sequence[Order], workers: int, hear: Callable[[int, Run], None] = lambda done, run: None
) -> list[Run]:
    """Play all of them, in so many processes; what they gave, in their order.

    Times are comparable only where every process has a core of its own. `hear` is told how many are done.
    """
    if workers == 1:
        return [_heard(done, order.play(), hear) for done, order in enumerate(orders, 1)]
    # One thread a process: more would only wait for each other, and the times would say so.
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            waiting = {pool.submit(Order.play, order): place for place, order in enumerate(orders)}
            found: list[tuple[int, Run]] = []
            for done, future in enumerate(as_completed(waiting), 1):
                found.append((waiting[future], _heard(done, future.result(), hear)))
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _heard(done: int, one: Run, hear: Callable[[int, Run], None]) -> Run:
    hear(done, one)
    return one


def by_problem(runs: Sequence[Run]) -> Iterator[tuple[str, list[Run]]]:
    """The runs of every family of problems."""
    families = dict.fromkeys(run.problem.partition(":")[0] for run in runs)
    for family in families:
        yield family, [run for run in runs if run.problem.partition(":")[0] == family]
