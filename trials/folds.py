"""Trials with their fold models: rows beside a trial's own, said of as one trial.

A trial that trains on augmentation families is scored on these by fold models: trials of the same seeds,
schedule and budget that leave a part of the families out (`trials.validation.fold_models`). They are lanes of
the same program, as the families that a row trains on ride in it. Where lanes are short, a fold model waits
for one, and the reports of its trial wait for it.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trials.drive import Drive, Ended, Reduced
from trials.halfway import Halfway
from trials.record import Record
from trials.rows import Row
from trials.scores import Scores
from trials.spec import Report, TrialSpec
from trials.validation import (
    FOLD_STEPS,
    NARROW,
    SHIFTED,
    TRAIN_FAMILIES,
    FoldModel,
    families_of,
    fold_models,
)

_FIRST = -(1 << 40)  # number of the first fold model; copies that probes run in count down from -1


@dataclass(frozen=True)
class Folded:
    """The fold models of a trial were trained and scored."""

    trial: int
    metrics: Mapping[str, float]  # of the families that they are scored on
    steps: int  # of all of them
    models: tuple[FoldModel, ...]


def composed(found: Mapping[str, float], families: Sequence[str], is_last: bool) -> dict[str, float]:
    """Metrics as a trial reports them: `shifted_NAME` once every family has a score, families at the end.

    What rows say of a family is named as by `trials.scoring.of_family`.

    >>> composed({"val_loss": 1.0, "blur:loss": 2.0, "edges:loss": 4.0}, ["blur", "edges"], False)
    {'val_loss': 1.0, 'shifted_loss': 3.0}
    """
    told: dict[str, float] = {}
    scored: dict[str, dict[str, float]] = {}  # metric -> family -> mean
    for key, value in found.items():
        family, _, name = key.partition(":")
        if family in families:
            scored.setdefault(name, {})[family] = value
        else:
            told[key] = value
    for name, means in scored.items():
        if len(means) == len(families):
            told[f"{SHIFTED}{name}"] = sum(means.values()) / len(means)
        if is_last:
            told.update(
                (f"{SHIFTED}{name}_{family}", means[family]) for family in families if family in means
            )
    return told


def _of_families(report: Report, families: Sequence[str]) -> dict[str, float]:
    """The scores on families, of a fold model's report: its training loss is nobody's."""
    return {name: value for name, value in report.metrics.items() if name.partition(":")[0] in families}


@dataclass
class _Member:
    """A row of a trial with fold models: the trial's own, or a fold model's."""

    number: int
    model: FoldModel | None = None  # None: the trial's own
    reports: deque[Report] = field(default_factory=deque[Report])  # not told yet
    spent: int = 0
    ended: Ended | None = None


@dataclass
class _Group:
    """A trial and its fold models."""

    spec: TrialSpec
    members: list[_Member]

    @property
    def own(self) -> _Member | None:
        """The trial's own row; None where it was trained before."""
        return self.members[0] if self.members[0].model is None else None

    @property
    def models(self) -> tuple[FoldModel, ...]:
        return tuple(one.model for one in self.members if one.model is not None)

    @property
    def marks(self) -> dict[str, float]:
        """Says where a single family is scored by a model that trains on none."""
        return {} if all(model.trained for model in self.models) else {NARROW: 1.0}

    @property
    def fold_steps(self) -> int:
        return sum(one.spent for one in self.members if one.model is not None)


class FoldedDrive:
    """A `Drive` of trials that may have fold models; its verbs are those of a drive."""

    def __init__(self, drive: Drive, folds: int = 2) -> None:
        self.drive, self.lanes, self._count = drive, drive.lanes, folds
        splits = drive.lanes.program.splits
        self._families, self._views = tuple(splits.shifted), splits.views
        self._groups: dict[int, _Group] = {}
        self._members: dict[int, tuple[_Group, _Member]] = {}  # of every number
        self._queue: deque[tuple[_Group, _Member]] = deque()  # fold models without a lane
        self._made = 0  # fold models so far
        self._over: set[int] = set()  # rows that were dropped with their trial in this tick

    def __len__(self) -> int:
        return len(self.drive) + len(self._queue)

    def __contains__(self, trial: int) -> bool:
        return trial in self._groups or trial in self.drive

    def used(self) -> int:
        """Lanes that are taken or waited for."""
        return self.drive.used() + len(self._queue)

    def room(self) -> int:
        """How many more trials it would take now."""
        return max(0, self.drive.room() - len(self._queue))

    def models(self, spec: TrialSpec) -> tuple[FoldModel, ...]:
        """The fold models that the trial is to have."""
        if spec.folds == "none" or not self._families:
            return ()
        trained = families_of(spec.config.get(TRAIN_FAMILIES, "none"), self._views)
        return fold_models(trained, self._families, self._count)

    def admit(self, spec: TrialSpec, start: Row | None = None) -> None:
        """Give a trial a lane, and its fold models as many as there are; see `Drive.admit`.

        Raises:
            ValueError: a schedule, hyperparameter or row that cannot be.
        """
        models = self.models(spec)
        if not models:
            if spec.folds == "alone":
                raise ValueError(f"trial {spec.trial} trains on no families: it has no fold models")
            self.drive.admit(spec, start)
            return
        members = [_Member(_FIRST - self._made - number, model) for number, model in enumerate(models)]
        self._made += len(models)
        if spec.folds == "beside":
            self.drive.admit(spec, start)
            members.insert(0, _Member(spec.trial))
        group = self._groups[spec.trial] = _Group(spec, members)
        self._members.update((one.number, (group, one)) for one in members)
        self._queue.extend((group, one) for one in members if one.model is not None)
        self._fill()

    def _fill(self) -> None:
        """Give fold models that wait a lane each, as far as there are any."""
        while self._queue and self.drive.room():
            group, one = self._queue.popleft()
            assert one.model is not None
            named = "+".join(one.model.trained) or "none"
            config = {**group.spec.config, TRAIN_FAMILIES: named}
            spec = replace(group.spec, trial=one.number, config=config, folds="none")
            self.drive.admit(spec, fold=one.model.scored)

    def stop(self, trial: int) -> Ended:
        """Free the lanes of a trial and its fold models; what was recorded of it until now."""
        group = self._groups.pop(trial, None)
        if group is None:
            return self.drive.stop(trial)
        found = Ended(trial, "stopped")
        self._queue = deque(one for one in self._queue if one[0] is not group)
        for one in group.members:
            del self._members[one.number]
            ended = one.ended
            if one.number in self.drive:
                ended = self.drive.stop(one.number)
            if one.model is None and ended is not None:
                found = replace(ended, outcome="stopped", row=None)
        return found

    def pause(self, trial: int) -> Halfway:
        """See `Drive.pause`; of a trial without fold models.

        Raises:
            ValueError: it has some.
        """
        if trial in self._groups:
            raise ValueError(f"trial {trial} has fold models beside it: it cannot be paused")
        return self.drive.pause(trial)

    def resume(self, held: Halfway) -> None:
        """See `Drive.resume`."""
        self.drive.resume(held)

    def so_far(self, trial: int) -> tuple[TrialSpec, Record, tuple[Mapping[str, object], ...]] | None:
        """See `Drive.so_far`; None where only fold models of the trial are under way."""
        return self.drive.so_far(trial) if trial in self.drive else None

    def halfway(self, trial: int) -> Halfway | None:
        """See `Drive.halfway`; None of a trial with fold models, whose rows are several."""
        return self.drive.halfway(trial) if trial in self.drive and trial not in self._groups else None

    def take_up(self, before: Halfway) -> list[Report]:
        """The same, of a trial that was saved; what it had reported by then."""
        self.drive.resume(before)
        return [self._composed(one, one.metrics, False) for one in before.course.reports]

    def tick(self) -> list[Report | Ended | Reduced | Folded]:
        """As of a drive; reports and ends are of trials with their fold models."""
        self._fill()
        self._over.clear()
        said = self.drive.tick()
        done = {one.trial for one in said if isinstance(one, Ended) and one.outcome == "completed"}
        last = {one.trial: one for one in said if isinstance(one, Report) and one.trial in done}
        told: list[Report | Ended | Reduced | Folded] = []
        for one in said:
            if isinstance(one, Reduced):
                told.append(replace(one, parked=tuple(trial for trial in one.parked if trial >= 0)))
            elif one.trial in self._over:
                continue
            elif one.trial not in self._members:
                is_last = last.get(one.trial) is one
                told.append(one if isinstance(one, Ended) else self._composed(one, one.metrics, is_last))
            elif isinstance(one, Report):
                group, member = self._members[one.trial]
                member.reports.append(one)
                member.spent = one.spent
                told.extend(self._merged(group))
            else:
                told.extend(self._end(*self._members[one.trial], one))
        return told

    def _composed(self, report: Report, metrics: Mapping[str, float], is_last: bool) -> Report:
        return replace(report, metrics=composed(metrics, self._families, is_last))

    def _merged(self, group: _Group) -> list[Report]:
        """Reports of rungs that every row of the trial has come to."""
        told: list[Report] = []
        own = group.own
        while own is not None and all(one.reports for one in group.members):
            reports = [one.reports.popleft() for one in group.members]
            folds = [report for report in reports if report.trial != own.number]
            metrics = dict(reports[0].metrics)
            for report in folds:
                metrics.update(_of_families(report, self._families))
            metrics[FOLD_STEPS] = float(sum(report.spent for report in folds))
            metrics.update(group.marks)
            told.append(self._composed(reports[0], metrics, reports[0].spent >= group.spec.budget))
        return told

    def _end(self, group: _Group, member: _Member, ended: Ended) -> list[Report | Ended | Folded]:
        """What follows from the end of one row: the trial's, once all have ended or one has failed."""
        member.ended = ended
        own, trial = group.own, group.spec.trial
        if ended.outcome != "completed":
            # A trial without a score is none: what its other rows still had to say is not waited for.
            waiting = [] if member is not own or own is None else list(own.reports)
            left = [self._composed(report, report.metrics, False) for report in waiting]
            self._over.update(one.number for one in group.members)
            stopped = self.stop(trial)
            reason = ended.reason
            if member.model is not None:
                reason = f"its fold model without {'+'.join(member.model.scored)}: {reason}"
            return [*left, replace(stopped, outcome=ended.outcome, reason=reason)]
        if any(one.ended is None for one in group.members):
            return []
        del self._groups[trial]
        for one in group.members:
            del self._members[one.number]
        scores: Scores | None = None
        metrics: dict[str, float] = {}
        for one in group.members:
            assert one.ended is not None
            found = one.ended.scores
            scores = found if scores is None or found is None else scores.merged(found)
            if one.model is not None and one.reports:
                metrics.update(_of_families(one.reports[-1], self._families))
        metrics = {**composed(metrics, self._families, True), **group.marks}
        folded = Folded(trial, metrics, group.fold_steps, group.models)
        base = own.ended if own is not None and own.ended is not None else Ended(trial, "completed")
        return [folded, replace(base, scores=scores)]
