"""How a peer's tuner is asked: lines of JSON on its standard input and output.

A tuner lives in a process of its own, as its library may want other versions of everything; so this file and
the tuners import nothing of the project. `{"begin": ...}` says the space, the steps of a training, the steps
at which trials report, a seed and the number of lanes. Then `{"ask": true}` is answered by a config or a
paused trial that is to go on, `{"report": [trial, step, loss]}` by a verdict, `{"end": [trial, loss]}` (loss
null where it broke off) by null.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Verdict = Literal["go", "stop", "pause"]


@dataclass(frozen=True)
class Dimension:
    """A hyperparameter: a number between bounds."""

    name: str
    low: float
    high: float
    log: bool
    whole: bool


@dataclass(frozen=True)
class Begin:
    """One study."""

    space: tuple[Dimension, ...]
    steps: int
    rungs: tuple[int, ...]
    seed: int
    lanes: int


@dataclass(frozen=True)
class Answer:
    """A new trial's config, or None where a paused trial goes on."""

    trial: int
    config: dict[str, float] | None


class Tuner(Protocol):
    """One study's tuner. It numbers its trials itself."""

    def ask(self) -> Answer: ...

    def report(self, trial: int, step: int, loss: float) -> Verdict: ...

    def end(self, trial: int, loss: float | None) -> None: ...


def serve(table: dict[str, Callable[[Begin], Tuner]]) -> None:
    """Answer for the tuner that the command line names until the input ends."""
    build = table[sys.argv[1]]
    # What libraries print must not get between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    tuner: Tuner | None = None
    for line in sys.stdin:
        message: dict[str, Any] = json.loads(line)
        answer: Any = None
        if "begin" in message:
            found = message["begin"]
            space = tuple(Dimension(**one) for one in found.pop("space"))
            tuner = build(Begin(space, found["steps"], tuple(found["rungs"]), found["seed"], found["lanes"]))
        elif tuner is None:
            raise ValueError(f"{line.strip()!r} before 'begin'")
        elif "ask" in message:
            given = tuner.ask()
            answer = {"trial": given.trial, "config": given.config}
        elif "report" in message:
            answer = tuner.report(*message["report"])
        else:
            tuner.end(*message["end"])
        print(json.dumps(answer), file=answers, flush=True)
