"""A model over (config, budget) that every report of every trial teaches what a config ends at.

Trials that run, were stopped or paused count with the forecast of their end (`hpo.forecasts`), the less the
wider it is; those that diverged, failed or found no memory count as worst, and lower the odds of what is
near. What is believed beforehand counts less with every result (Hvarfner et al., "piBO: Augmenting
Acquisition Functions with User Beliefs for Bayesian Optimization", ICLR 2022, arXiv:2204.11051).
A Gaussian process on the normal scores of the ranks proposes together with a pair of Parzen densities: the
pair leads while little is known, the process later. The longer no result was better than the best, the more
has to be gained where it looks (the margin of Jones, "A Taxonomy of Global Optimization Methods Based on
Response Surfaces", 2001), so that it leaves a place where nothing new comes up.

Every suggestion of an `ask` takes those before it and all running trials for granted. A small share of trials
is drawn at random, so that a wrong model cannot keep the search in one place.

Where seconds are what a study may spend and trials differ in them, improvement is looked for per second
(`hpo.samplers.costs`).

Earlier studies (`hpo.samplers.lessons`) are asked from the first trial on: every second one of the start, the
best of theirs and then by the model. The others are drawn at random as ever, so that an earlier study is
measured against something.
"""

import math
from dataclasses import replace

import numpy as np

from hpo.events import EarlierTaken, Event, Suggestion, TrialFinished, TrialPaused, TrialStarted
from hpo.forecasts import Forecasts
from hpo.objective import Objective
from hpo.samplers.believed import believed, drawn, log_density
from hpo.samplers.costs import Costs
from hpo.samplers.earlier import Leaders
from hpo.samplers.features import Features
from hpo.samplers.gaussian import Kernel, Posterior, default, learn, log_improvement
from hpo.samplers.lessons import Lessons
from hpo.samplers.parzen import Density
from hpo.samplers.plateaus import distances, flat_within
from hpo.samplers.results import Result, kept_rows, normal_scores, ordered
from hpo.samplers.scalarised import Scalarised
from hpo.space import Space
from trials.seeding import stream
from trials.spec import Config

_RANDOM_SHARE = 0.03
_GOOD_SHARE, _MOST_GOOD = 0.1, 25
_MOST_REST = 60
_LEAD = 10.0  # results for which the densities count as much as the process
_DENSITIES_UNTIL = 200  # results
_BELIEF = 10.0  # results for which the priors count as much as the improvement expected
_DRAWN, _UNIFORM = 100, 100  # candidates: of the good density, anywhere
_LEADERS = 5
_NEAR = 100  # candidates near the leaders in each round, and the size of its steps
_STEPS = (0.3, 0.1, 0.1, 0.03, 0.01)
_THOROUGH_UNTIL = 100  # results; one suggestion counts for less beyond, and fewer candidates have to do
_LATER_NEAR, _LATER_STEPS = 50, (0.3, 0.1, 0.03)
_RESTLESS, _MOST_RESTLESS = 0.06, 1.5  # standard deviations: a result since the best one, and at most
_ALL_RESTLESS = 60.0  # results until which all suggestions are; then ever fewer
_WIDTH_80 = 1.2816  # standard deviations on each side that hold 80 % of a normal
_FROM_EARLIER = 100  # candidates near the best of earlier studies
_POOL_FOR = 8  # suggestions of one ask that share candidates
_NO_NEWS = 20.0  # logarithm by which what is as good as tried already falls behind the others


class Curve:
    """Random for `startup_trials` results, then by the model."""

    def __init__(
        self, space: Space, objective: Objective, seed: int, startup_trials: int = 10, cost: str = "auto"
    ) -> None:
        self._space, self._seed, self._startup = space, seed, startup_trials
        self._features = Features(space)
        self._forecasts = Forecasts(objective)
        self._scalarised = None if objective.is_single else Scalarised(objective, seed)
        self._configs: dict[int, Config] = {}
        self._points = np.empty((0, self._features.d))  # of trials in order of their start
        self._places: dict[int, int] = {}  # trial -> its row
        self._first: dict[int, int] = {}  # replica -> first trial of its config
        self._next = 0
        self._heard: set[int] = set()  # trials of which something was known at an end or a pause
        self._ended = self._learnt = 0
        self._kernel: Kernel = default(self._features.owners, self._features.d, has_alone=True)
        self._costs = Costs(self._features, cost)
        self._leaders = Leaders(space, seed)
        self._lessons, self._no_lessons = Lessons(space), Lessons(space)
        self._cache: list[Suggestion] = []  # of the last ask; what was told since empties it

    # -- telling ------------------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Take in one event."""
        self._cache.clear()
        self._forecasts.tell(event)
        self._leaders.tell(event)
        self._costs.tell(event)
        if self._scalarised is not None:
            self._scalarised.tell(event)
        if isinstance(event, TrialStarted):
            number, config = event.spec.trial, event.spec.config
            self._next = max(self._next, number + 1)
            if event.replica_of is not None:
                self._first[number] = event.replica_of
            known = _known(self._space, config)
            if known is not None:
                self._places[number] = len(self._points)
                self._points = np.concatenate([self._points, self._space.encode([known])])
        elif isinstance(event, EarlierTaken):
            if self._scalarised is None:
                self._lessons.add(event)
        elif isinstance(event, (TrialFinished, TrialPaused)):
            if event.trial in self._heard:
                return
            self._heard.add(event.trial)
            self._ended += 1
            if self._ended >= self._startup and self._ended >= self._learnt + _pause(self._ended):
                self._learnt = self._ended
                self._learn()

    def _learn(self) -> None:
        results = self._results()
        if sum(not result.broke for result in results) < 2 or not self._features.d:
            return
        chosen = kept_rows(results)
        values, extra = normal_scores(results)
        points = self._points[[self._places[result.trial] for result in results]][chosen]
        columns = self._features.columns(points, self._features.active(points))
        most = 20 if len(results) <= 100 else 6
        self._kernel = learn(columns, values[chosen], extra[chosen], self._kernel, most)
        self._costs.learn(self._points, self._places, most)
        if self._lessons:
            self._lessons.learn(points, columns, values[chosen], extra[chosen], self._kernel, most)

    def _results(self, number: int = -1) -> list[Result]:
        """Of every trial of which something is known, in the order of their numbers.

        Several metrics are weighed as for the suggestion of this number.
        """
        found: list[Result] = []
        weighed = {} if self._scalarised is None else self._scalarised.weighed(number)
        for trial, course in self._forecasts.courses.items():
            if trial not in self._places or course.goes_on:
                continue
            first = self._first.get(trial, trial)
            broke = Result(trial, math.inf, 0.0, True, first)
            if course.state in ("diverged", "failed", "out_of_memory"):
                found.append(broke)
                continue
            known: Result | None = None
            if self._scalarised is not None:
                known = Result(trial, *weighed[trial], first) if trial in weighed else None
            elif (forecast := self._forecasts.of(trial)) is not None:
                known = Result(trial, forecast.mean, forecast.spread, False, first)
            if known is not None:
                found.append(known)
            elif course.state == "completed":
                found.append(broke)  # one of its metrics is not finite: no place to look at again
        return found

    # -- asking -------------------------------------------------------------------------------------------

    def ask(self, n: int) -> list[Suggestion]:
        """The next n suggestions, each taking those before it for granted."""
        if len(self._cache) < n:
            self._cache[:] = self._proposed(n)
        return self._cache[:n]

    def _proposed(self, n: int) -> list[Suggestion]:
        results = self._results(self._next)
        numbers = range(self._next, self._next + n)
        rngs = {number: stream(self._seed, "sampler", number) for number in numbers}
        known = sum(not result.broke for result in results)
        begins = len(results) < self._startup
        if known < 2 or (begins and not self._lessons) or not self._features.d:
            return self._begin(numbers)
        lessons = self._used_lessons(numbers[0], len(results))
        model = self._model(results, lessons)
        running = [
            place
            for trial, place in self._places.items()
            if self._forecasts.courses[trial].state == "running" and self._forecasts.of(trial) is None
        ]
        taken = self._points[running]
        found: list[Suggestion] = []
        pool: _Pool | None = None
        for index, number in enumerate(numbers):
            rng = rngs[number]
            before, lessons = lessons, self._used_lessons(number, len(results))
            if index and (self._scalarised is not None or lessons is not before):
                results = self._results(number)
                model = self._model(results, lessons)
                pool = None
            if begins and number % 2:
                suggestion = drawn(self._space, self._seed, number)
                taken = np.concatenate([taken, self._space.encode([suggestion.config])])
                found.append(suggestion)
                continue
            if rng.random() < _RANDOM_SHARE:
                point = self._features.snapped(rng.random((1, self._features.d)))
                origin = f"random: one of the {_RANDOM_SHARE:.0%} that do without the model"
            else:
                if pool is None or index % _POOL_FOR == 0:
                    pool = model.pool(rng, taken)
                origin = f"model: {pool.expected()}"
                point = pool.take()
            taken = np.concatenate([taken, point])
            found.append(Suggestion(self._space.decode(point[0]), origin=origin))
        return found

    def _begin(self, numbers: range) -> list[Suggestion]:
        """Before there is a model: every second one the best of earlier studies, as long as there are any."""
        leaders = self._leaders.untried()
        found: list[Suggestion] = []
        for number in numbers:
            if leaders and number % 2 == 0:
                leader = leaders.pop(0)
                found.append(Suggestion(dict(leader.config), origin=leader.origin))
            else:
                found.append(drawn(self._space, self._seed, number))
        return found

    def _used_lessons(self, number: int, results: int) -> Lessons:
        """What the suggestion of this number takes of earlier studies: all, or nothing."""
        if not self._lessons or results < self._startup:
            return self._lessons
        is_used = stream(self._seed, "lessons", number).random() < self._lessons.share(results)
        return self._lessons if is_used else self._no_lessons

    def _model(self, results: list[Result], lessons: Lessons) -> "_Model":
        kernel = lessons.kernel or self._kernel
        # With several metrics every suggestion weighs them anew, and has another best one; where an earlier
        # study has shown the best at once, that none is better says nothing. Costs were measured without.
        is_plain = self._scalarised is None and not lessons and not self._costs.weight
        margin = _margin(results) if is_plain else 0.0
        return _Model(
            self._features,
            kernel,
            lessons,
            self._costs,
            results,
            self._forecasts,
            self._points,
            self._places,
            margin,
        )


def _known(space: Space, config: Config) -> Config | None:
    """What is searched of a config; None if it is of another space, as a journal's may be after an edit."""
    active = space.active(config)
    if not all(name in config and space.domains[name].contains(config[name]) for name in active):
        return None
    return {name: config[name] for name in active}


def _pause(ended: int) -> int:
    """Ended trials from one learning to the next: more as they become the smaller share."""
    return 1 if ended <= 30 else max(2, ended // 10)


def _margin(results: list[Result]) -> float:
    """By how much a result has to be better than the best one to count: more, the longer none was.

    In standard deviations of normal scores. A forecast says nothing; what broke off does.
    """
    best = min(range(len(results)), key=lambda place: results[place].value)
    since = sum(result.spread == 0.0 for result in results[best + 1 :])
    return min(_MOST_RESTLESS, _RESTLESS * since)


class _Model:
    """What is known, ready to score candidates."""

    def __init__(
        self,
        features: Features,
        kernel: Kernel,
        lessons: Lessons,
        costs: Costs,
        results: list[Result],
        forecasts: Forecasts,
        points: np.ndarray,
        places: dict[int, int],
        margin: float,
    ) -> None:
        self._margin = margin
        self.features, self._kernel, self.lessons, self.costs = features, kernel, lessons, costs
        chosen = kept_rows(results)
        values, extra = normal_scores(results)
        self.count = len(results)
        rows = points[[places[result.trial] for result in results]]
        active = features.active(rows)
        columns = features.columns(rows[chosen], active[chosen])
        self.tried = kernel.scaled(columns)
        self.flat = flat_within(self.tried, forecasts.reports([results[int(row)].trial for row in chosen]))
        trended, expected = lessons.appended(rows[chosen], columns)
        kernel = replace(kernel, trends=lessons.trends)
        posterior = Posterior(kernel, trended, values[chosen] - expected, extra[chosen])
        broke = np.array([result.broke for result in results])[chosen]
        self.best = float((posterior.means(trended) + expected)[~broke].min())
        self.posterior = posterior
        order = ordered(results)
        good = min(_MOST_GOOD, max(1, math.ceil(_GOOD_SHARE * len(order))))
        self.good = Density(features, rows[order[:good]], active[order[:good]])
        rest = np.sort(order[good:])[-_MOST_REST:]
        self._rest_points, self._rest_active = rows[rest], active[rest]
        self._broke = broke if broke.any() else None

    def pool(self, rng: np.random.Generator, taken: np.ndarray) -> "_Pool":
        """Candidates with their scores, while trials run at the (k, d) points taken."""
        features = self.features
        running = features.active(taken)
        of_running = features.columns(taken, running)
        posterior = self.posterior.believing(self.lessons.appended(taken, of_running)[0])
        rest: Density | None = None
        if self.count < _DENSITIES_UNTIL:
            rest = Density(
                features,
                np.concatenate([self._rest_points, taken]),
                np.concatenate([self._rest_active, running]),
            )
        anywhere = rng.random((_UNIFORM, features.d))
        if features.space.priors:
            anywhere[::2] = [believed(features.space, point) for point in anywhere[::2]]
        wanted = self.best - (self._margin if rng.random() * self.count < _ALL_RESTLESS else 0.0)
        points = np.concatenate([self.good.draw(rng, _DRAWN), anywhere])
        if self.lessons:
            points = np.concatenate([points, self.lessons.draw(features, rng, _FROM_EARLIER)])
        pool = _Pool(self, posterior, rest, wanted, features.snapped(points), of_running)
        is_early = self.count <= _THOROUGH_UNTIL
        near, steps = (_NEAR, _STEPS) if is_early else (_LATER_NEAR, _LATER_STEPS)
        for step in steps:
            leaders = pool.points[np.argsort(-pool.scores(), kind="stable")[:_LEADERS]]
            base = np.repeat(leaders, near // _LEADERS, 0)
            moved = np.where(
                features.is_choice, rng.random(base.shape), base + rng.normal(0.0, step, base.shape)
            )
            # What a change of a choice makes active has to be drawn; the middle says "inactive".
            fresh = np.where(features.active(base), base, rng.random(base.shape))
            changed = np.where(rng.random(base.shape) < np.where(features.is_choice, 0.1, 0.4), moved, fresh)
            pool.add(features.snapped(np.clip(changed, 0.0, 1.0)))
        return pool

    def scaled(self, columns: np.ndarray) -> np.ndarray:
        """(n, D) columns in units of what was learnt to matter."""
        return self._kernel.scaled(columns)

    def odds(self, columns: np.ndarray) -> np.ndarray:
        """(m,) log odds that a trial at these (m, D) columns comes to its end, by those near it."""
        if self._broke is None:
            return np.zeros(len(columns))
        near = self._kernel.between(self.scaled(columns), self.tried)
        near = np.square(near / self._kernel.peak)
        share = float(1 - self._broke.mean())
        return np.log((near @ ~self._broke + share) / (near.sum(1) + 1.0))


class _Pool:
    """Candidates, of which one after another is taken."""

    def __init__(
        self,
        model: _Model,
        posterior: Posterior,
        rest: Density | None,
        wanted: float,  # value below which a result counts
        points: np.ndarray,
        running: np.ndarray,  # columns of what is taken already
    ) -> None:
        self._model, self._rest, self._wanted = model, rest, wanted
        self._tried = np.concatenate([model.tried, model.scaled(running)])
        self._scaled = np.empty((0, model.tried.shape[1]))
        self.points = np.empty((0, model.features.d))
        self._bonus = self._expected = np.empty(0)
        self._candidates = posterior.at()
        self.add(points)

    def add(self, points: np.ndarray) -> None:
        """More candidates, before any is taken."""
        model = self._model
        active = model.features.active(points)
        columns = model.features.columns(points, active)
        bonus = model.odds(columns)
        if self._rest is not None:
            ratio = model.good.log(points, active) - self._rest.log(points, active)
            bonus = bonus + _LEAD / max(_LEAD, model.count) * ratio
        if model.features.space.priors:
            bonus = bonus + _BELIEF / model.count * log_density(model.features.space, points, active)
        if model.costs.weight:
            bonus = bonus - model.costs.weight * model.costs.log_seconds(columns)
        if model.flat:
            scaled = model.scaled(columns)
            bonus = bonus - _NO_NEWS * (distances(scaled, self._tried) <= model.flat)
            self._scaled = np.concatenate([self._scaled, scaled])
        columns, expected = model.lessons.appended(points, columns)
        self._candidates.add(columns)
        self._expected = np.concatenate([self._expected, expected])
        self.points = np.concatenate([self.points, points])
        self._bonus = np.concatenate([self._bonus, bonus])

    def scores(self) -> np.ndarray:
        """(m,) the higher the better."""
        found = self._candidates
        means = found.means + self._expected
        return log_improvement(means, found.variances, self._wanted) + self._bonus

    def expected(self) -> str:
        """What the model expects of the best candidate, in words."""
        from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

        place, found = int(self.scores().argmax()), self._candidates
        mean, width = (
            float(found.means[place] + self._expected[place]),
            math.sqrt(max(0.0, float(found.variances[place]))),
        )
        middle, low, high = (float(ndtr(mean + far * width)) for far in (0.0, -_WIDTH_80, _WIDTH_80))
        lessons = self._model.lessons
        earlier = f" and {lessons.weights(self._model.posterior)}" if lessons else ""
        return (
            f"by {self._model.count} results{earlier} it is expected to rank at {middle:.0%} from the best, "
            f"between {low:.0%} and {high:.0%} with 80 % certainty{self._cost(place)}"
        )

    def _cost(self, place: int) -> str:
        """What a candidate is expected to cost, in words, where that counts."""
        features, costs, point = self._model.features, self._model.costs, self.points[place : place + 1]
        if not costs.weight:
            return ""
        (seconds,) = np.exp(costs.log_seconds(features.columns(point, features.active(point))))
        return f", in {seconds:.2g} times the usual seconds"

    def take(self) -> np.ndarray:
        """(1, d) the best candidate; those after it are scored as if it ran."""
        place = int(self.scores().argmax())
        self._candidates.take(place)
        # The same config twice would tell less than any other.
        self._bonus[np.abs(self.points - self.points[place]).max(1) < 1e-9] -= 10.0
        if self._model.flat:
            here = distances(self._scaled, self._scaled[place : place + 1]) <= self._model.flat
            self._bonus[here] -= _NO_NEWS
        return self.points[place : place + 1]
