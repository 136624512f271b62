"""Tuners of other libraries against this project's, on problems whose curves are known, by one score.

python -m tests.bench.search curve+pause optuna:tpe+median syne:bohb --problems taskset --seeds 20

A peer is `library:name`; its process is asked as `peers/tuner.py` says, with the Python of
`.peers/LIBRARY` where there is one (`make peers`). Everything is judged as in `hpo bench`: the incumbent is
the best completed trial, while there is none the lowest last loss. Rows are kept for all that can pause.
"""

import argparse
import heapq
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.bench import score
from hpo.bench.contender import contender
from hpo.bench.play import Order, Run, is_best_stopped, rungs
from hpo.problems import base as problems
from hpo.problems.base import Problem, regret
from hpo.space import Float, Int
from trials.seeding import key
from trials.spec import Config

ROOT = Path(__file__).parents[2]


class Peer:
    """A process that is asked, for any number of studies."""

    def __init__(self, text: str) -> None:
        library, _, name = text.partition(":")
        own = ROOT / ".peers" / library / "bin" / "python"
        python = str(own) if own.exists() else sys.executable
        command = [python, "-W", "ignore", "-m", f"tests.bench.peers.tuner_{library}", name]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **threads, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.seconds = 0.0  # waited for answers

    def say(self, message: Mapping[str, Any]) -> Any:
        """What it answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        began = time.perf_counter()
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args} ended with exit code {self._process.wait()}")
        self.seconds += time.perf_counter() - began
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def dimensions(problem: Problem) -> list[dict[str, Any]]:
    """The space as `peers/tuner.py` has it.

    Raises:
        SystemExit: it has choices or conditions.
    """
    found: list[dict[str, Any]] = []
    for name, domain in problem.space.domains.items():
        if not isinstance(domain, (Float, Int)) or problem.space.when:
            sys.exit(
                f"{problem.name}: peers are asked about numbers only, and {name!r} or a condition is none"
            )
        bounds = {"low": domain.low, "high": domain.high, "log": domain.scale == "log"}
        found.append({"name": name, **bounds, "whole": isinstance(domain, Int)})
    return found


class Study:
    """Trials of one peer in simulated time, and what it would return."""

    def __init__(self, peer: Peer, problem: Problem, most: float) -> None:
        self._peer, self._problem, self._most = peer, problem, most
        self._rungs = rungs(problem.steps)
        self._losses: dict[int, list[float]] = {}
        self._at: dict[int, int] = {}  # trial -> rungs it has reported
        self._last: dict[int, float] = {}
        self._completed: dict[int, float] = {}
        self._steps = 0
        self.finals: dict[int, float] = {}
        self.cut: set[int] = set()
        self.paused: set[int] = set()
        self.spent: list[float] = []
        self.returned: list[int] = []

    def run(self, lanes: int, seed: int) -> None:
        """Until no trial can begin; one training more than is scored, as in `hpo bench`."""
        begin = {"space": dimensions(self._problem), "steps": self._problem.steps, "rungs": self._rungs}
        self._peer.say({"begin": {**begin, "seed": seed, "lanes": lanes}})
        queue: list[tuple[float, int]] = []  # (time of the next report, trial)
        now = 0.0
        while True:
            while len(queue) < lanes and self._steps < (self._most + 1) * self._problem.steps:
                trial = self._begin()
                heapq.heappush(queue, (now + self._next(trial), trial))
            if not queue or self._steps >= (self._most + 1) * self._problem.steps:
                return
            now, trial = heapq.heappop(queue)
            if self._report(trial):
                heapq.heappush(queue, (now + self._next(trial), trial))

    def _begin(self) -> int:
        answer = self._peer.say({"ask": True})
        trial = int(answer["trial"])
        if answer["config"] is None:
            self.paused.remove(trial)
            return trial
        config = self._as_config(answer["config"])
        self._losses[trial] = self._problem.curve(config, 0).tolist()
        self._at[trial] = 0
        if self._steps <= self._most * self._problem.steps:
            self.finals[trial] = regret(self._problem, self._problem.final(config))
        return trial

    def _as_config(self, told: Mapping[str, float]) -> Config:
        """Libraries round logarithms past their bounds."""
        found: dict[str, Any] = {}
        for name, domain in self._problem.space.domains.items():
            assert isinstance(domain, (Float, Int))
            value = min(max(told[name], domain.low), domain.high)
            found[name] = round(value) if isinstance(domain, Int) else value
        return found

    def _next(self, trial: int) -> int:
        at = self._at[trial]
        return self._rungs[at] - (self._rungs[at - 1] if at else 0)

    def _report(self, trial: int) -> bool:
        """Whether it goes on."""
        self._steps += self._next(trial)
        step = self._rungs[self._at[trial]]
        self._at[trial] += 1
        loss = self._losses[trial][step - 1]
        if not math.isfinite(loss):
            self._last.pop(trial, None)
            self._peer.say({"end": [trial, None]})
            self._note()
            return False
        self._last[trial] = loss
        verdict = self._peer.say({"report": [trial, step, loss]})
        if step == self._problem.steps:
            self._completed[trial] = loss
            self._peer.say({"end": [trial, loss]})
            self._note()
            return False
        self._note()
        if verdict == "stop":
            self.cut.add(trial)
        elif verdict == "pause":
            self.paused.add(trial)
        return verdict == "go"

    def _note(self) -> None:
        values = self._completed or self._last
        best = min(values, key=lambda trial: (values[trial], trial), default=None)
        spent = self._steps / self._problem.steps
        known = self.returned[-1] if self.returned else None
        if best is not None and best != known and best in self.finals and spent <= self._most + 1e-9:
            self.spent.append(spent)
            self.returned.append(best)


def play(text: str, peer: Peer, problem: Problem, seed: int, most: float, lanes: int) -> Run:
    """One study of a peer."""
    study = Study(peer, problem, most)
    before = peer.seconds
    study.run(lanes, key(seed, problem.name) & 0x7FFFFFFF)
    regrets = tuple(study.finals[trial] for trial in study.returned)
    open_ones = study.finals.keys() - study.cut - study._completed.keys()  # pyright: ignore[reportPrivateUsage]
    is_stopped = is_best_stopped(study.finals, study.cut, open_ones, regrets[-1] if regrets else 2.0)
    milliseconds = 1e3 * (peer.seconds - before)
    return Run(
        *(text, problem.name, seed, tuple(study.spent), regrets),
        *(len(study.finals), len(study.cut | study.paused), is_stopped, milliseconds),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("contenders", nargs="+", help="SAMPLER+PRUNER of this project, or LIBRARY:NAME")
    parser.add_argument("--problems", default="taskset")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--spent", default="4,10,20")
    parser.add_argument("--lanes", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="file of JSON lines: what is there is not played again")
    options = parser.parse_args()
    at = [float(one) for one in options.spent.split(",")]
    instances = problems.expand(options.problems.split(","))
    kept = read(options.keep)
    runs: list[Run] = []
    for text in options.contenders:
        peer = Peer(text) if ":" in text else None
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for name in instances:
                mark = (text, name, seed, max(at), options.lanes)
                if mark not in kept:
                    if peer is None:
                        found = Order(contender(text), name, seed, max(at), options.lanes, None).play()
                    else:
                        found = play(text, peer, problems.build(name), seed, max(at), options.lanes)
                    kept[mark] = found
                    if options.keep:
                        write(options.keep, mark, found)
                runs.append(kept[mark])
        if peer is not None:
            peer.close()
    print(score.markdown(score.lines(runs, at), at))


_Mark = tuple[str, str, int, float, int]  # contender, problem, seed, trainings, lanes


def read(path: Path | None) -> dict[_Mark, Run]:
    """What was played before."""
    found: dict[_Mark, Run] = {}
    if path is not None and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            mark, fields = json.loads(line)
            fields["spent"], fields["regrets"] = tuple(fields["spent"]), tuple(fields["regrets"])
            found[(mark[0], mark[1], int(mark[2]), float(mark[3]), int(mark[4]))] = Run(**fields)
    return found


def write(path: Path, mark: _Mark, run: Run) -> None:
    """Remember a study, so that a comparison can be made in pieces."""
    fields = {name: getattr(run, name) for name in Run.__slots__}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps([mark, fields]) + "\n")


if __name__ == "__main__":
    main()
