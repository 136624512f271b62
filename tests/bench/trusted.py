"""What it is worth that forecasts know schedules, and that `trust` knows programs: with and without.

python -m tests.bench.trusted [--seeds 10] [--only "errors; winners; random+trust; …; programs; …"]

Errors: 20 random configs complete, 40 others are forecast on their way. Winners: so many random configs under
`trust`, whatever they take. Studies: 20 trainings each. Without: the same code told of no schedule, which is
what forecasts were before they knew of them; so far by the family `schedules`. Last, a family each for
programs: winners of 40 random configs; without, all are of one program.
"""

import argparse
import contextlib
from collections import defaultdict
from unittest.mock import patch

import numpy as np

from hpo.bench.contender import contender
from hpo.bench.play import Run, play, rungs
from hpo.bench.score import interval
from hpo.events import StudyStarted, TrialFinished, TrialReported, TrialStarted
from hpo.forecasts import Forecasts
from hpo.history import History
from hpo.limits import Limits
from hpo.loop import Plan, Search
from hpo.objective import Objective
from hpo.problems.base import METRIC, Problem, build, expand, trial_of
from hpo.programs import program_of
from hpo.pruners.trust import Trust
from hpo.runners.base import Target
from hpo.runners.replayed import ReplayedRunner
from hpo.samplers.random import Random
from hpo.store import Memory
from trials.seeding import key, stream
from trials.spec import TrialSpec

_COMPLETED, _ASKED, _TRAININGS = 20, 40, 20
_LOOKED_AT = (1, 8, 32, 48, 64)  # of 81 steps

_OF_PROGRAMS, _NO_PROGRAM = ("programs", "branches", "crossing"), program_of({})
_ERRORS = (
    "| forecasts | step 1 | 8 | 32 | 48 | 64 | ends in 90 % |\n| --- | --- | --- | --- | --- | --- | --- |"
)
_WINNERS = "| of random configs | best stopped | steps saved |\n| --- | --- | --- |"
_STUDIES = (
    "| contender | at 4 | at 10 | at 20 | false stops | trials |\n| --- | --- | --- | --- | --- | --- |"
)


def forecasts_on_the_way(problem: Problem, seed: int) -> dict[int, list[tuple[float, float]]]:
    """Steps -> of every trial: error of its forecast there, half of its 90 % interval."""
    forecasts, rng = Forecasts(Objective(METRIC)), stream(seed, "annealed", problem.name)
    places, found = rungs(problem.steps), defaultdict[int, list[tuple[float, float]]](list)
    for trial in range(_COMPLETED + _ASKED):
        spec = TrialSpec(trial, problem.space.sample(rng), trial, problem.steps, places, problem.steps, 0)
        end = problem.final(spec.config)
        forecasts.tell(TrialStarted(spec, 0.0))
        for report in trial_of(problem)(spec):
            if trial < _COMPLETED or report.step < problem.steps:
                forecasts.tell(TrialReported(report, 0.0))
            forecast = forecasts.of(trial) if trial >= _COMPLETED and report.step in _LOOKED_AT else None
            if forecast is not None:
                found[report.step].append((forecast.mean - end, 1.645 * forecast.spread))
        forecasts.tell(TrialFinished(trial, "completed" if trial < _COMPLETED else "stopped", 0.0))
    return found


def errors(problems: list[Problem], seeds: int) -> str:
    """The cells of a row: mean absolute error at each of the looks, share of ends in the interval."""
    told = [[forecasts_on_the_way(problem, seed) for problem in problems] for seed in range(seeds)]
    cells: list[str] = []
    for step in _LOOKED_AT:
        each = [np.mean([abs(one[0]) for way in seed for one in way[step]]) for seed in told]
        cells.append(str(interval([float(one) for one in each])))
    everyone = [one for seed in told for way in seed for step in _LOOKED_AT for one in way[step]]
    inside = np.mean([abs(error) < half for error, half in everyone])
    return " | ".join([*cells, f"{inside:.2f}"])


def winners(problems: list[Problem], seeds: int, trials: int, chance: float) -> str:
    """The cells of a row: how often `trust` stops the best of so many random configs, and steps saved."""
    lost, saved = list[list[float]](), list[float]()
    for seed in range(seeds):
        lost.append([])
        for problem in problems:
            seed_here = key(seed, problem.name) & 0x7FFFFFFF
            history, runner = History(Objective(METRIC)), ReplayedRunner(Target(""), 1, trial_of(problem))
            Search(
                *(
                    Memory(),
                    Random(problem.space, seed_here),
                    Trust(Objective(METRIC), chance=chance),
                    runner,
                    history,
                ),
                Limits(trials=trials),
                Plan(problem.steps, rungs(problem.steps), problem.steps, seed_here, 0),
                StudyStarted(problem.name, {}, seed_here, {}, "", 0.0),
                clock=runner.clock,
            ).run()
            runner.close()
            ends = {number: problem.final(one.spec.config) for number, one in history.trials.items()}
            best = history.trials[min(ends, key=lambda number: ends[number])]
            lost[-1].append(float(best.state != "completed"))
            saved.append(1 - history.spent / (trials * problem.steps))
    return f"{interval([float(np.mean(seed)) for seed in lost])} | {np.mean(saved):.0%}"


def studies(name: str, problems: list[Problem], seeds: int) -> list[list[Run]]:
    """A list of runs for each seed."""
    one = contender(name)
    return [[play(one, problem, seed, _TRAININGS) for problem in problems] for seed in range(seeds)]


def row(played: list[list[Run]]) -> str:
    """The cells of a row: regret after 4, 10 and 20 trainings, false stops, trials."""
    regrets = [
        interval([float(np.mean([run.regret_at(at) for run in seed])) for seed in played])
        for at in (4, 10, 20)
    ]
    lost = interval([float(np.mean([run.stopped_best for run in seed])) for seed in played])
    trials = np.mean([run.trials for seed in played for run in seed])
    return " | ".join([*(str(one) for one in (*regrets, lost)), f"{trials:.0f}"])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--only",
        default="errors; winners; random+trust; curve+trust; curve+pause; programs; branches; crossing",
    )
    given = parser.parse_args()
    for wanted in (one.strip() for one in given.only.split(";")):
        of_programs = wanted in _OF_PROGRAMS
        problems = [build(name) for name in expand([wanted if of_programs else "schedules"])]
        print({"errors": _ERRORS}.get(wanted, _WINNERS if of_programs or wanted == "winners" else _STUDIES))
        for words in ("with", "without"):
            with contextlib.ExitStack() as stack:
                if words == "without" and of_programs:
                    stack.enter_context(patch("hpo.pruners.trust.program_of", lambda config: _NO_PROGRAM))
                elif words == "without":
                    stack.enter_context(patch("hpo.forecasts.annealing_of", lambda spec: None))
                if wanted == "errors":
                    rows = [f"{words} | {errors(problems, given.seeds)}"]
                elif wanted == "winners":
                    rows = [
                        f"{n}, chance {chance}, {words} | {winners(problems, given.seeds, n, chance)}"
                        for n, chance in ((40, 0.05), (40, 0.01), (80, 0.05))
                    ]
                elif of_programs:
                    rows = [f"`{wanted}`, {words} | {winners(problems, given.seeds, 40, 0.05)}"]
                else:
                    rows = [f"`{wanted}` {words} | {row(studies(wanted, problems, given.seeds))}"]
            print(*(f"| {one} |" for one in rows), sep="\n", flush=True)


if __name__ == "__main__":
    main()
