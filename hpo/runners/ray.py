"""Workers on a Ray cluster: actors that each own a share of a node and are a lanes or inline runner there.

Built on Ray's actors, which are begun, told and heard by `hpo.runners.crew`. They are not detached: they end
with the search, however it ends.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hpo.errors import RunnerError, UsageError
from hpo.events import DataSet, Figures
from hpo.records import target_name
from hpo.rows import halfway_name, remove_halfway
from hpo.runners import joining
from hpo.runners.arrivals import written
from hpo.runners.base import NOWHERE, Cluster, Heard, Target
from hpo.runners.cluster import End, last_line
from hpo.runners.crew import Crew, Worker
from hpo.scores import scores_name
from trials.spec import Config, TrialSpec


class RayRunner:
    """As many workers as the cluster has room for, or `workers`; capacity follows the nodes there are."""

    def __init__(self, target: Target, lanes: int | None, workers: int | None, cluster: Cluster) -> None:
        self._closed = False
        self._folder = Path(target.folder)
        self._link = joining.join(cluster.address, target)
        try:
            lanes = 1 if target.kind == "inline" and lanes is None else lanes
            self._crew = Crew(self._link, target, lanes, workers, cluster)
        except BaseException:
            self._link.leave()
            raise

    # -- before and after trials --------------------------------------------------------------------------

    def _ask(self, verb: str, *arguments: Any, files: Mapping[str, bytes] | None = None) -> Any:
        """Ask the first worker something and wait for the answer; another, where it dies over it."""
        while True:
            worker = self._first()
            self._crew.send(worker, verb, *arguments, files=files)
            while worker in self._crew.workers:
                replies, self._crew.replies = self._crew.replies, []
                for one, word in replies:
                    if one is worker and word.kind == "answer":
                        for name, problem in written(word, self._folder).items():
                            raise UsageError(f"{self._folder / name} could not be written: {problem}")
                        return word.value
                    if one is worker:
                        assert worker.place is not None
                        raise UsageError(f"{word.value.strip()} (on {worker.place.node})")
                self._crew.listen(0.25)

    def _first(self) -> Worker:
        """A worker that has begun, the first if there are several."""
        while True:
            begun = [worker for worker in self._crew.workers if worker.post is not None]
            if begun:
                return begun[0]
            if self._crew.end.is_raised:
                raise UsageError(f"a worker could not begin: {self._crew.end.reason}")
            self._crew.renew()
            self._crew.listen(0.25)

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Names of the metrics, the lanes measured; see `Runner.check`."""
        try:
            names = cast(tuple[str, ...], self._ask("check", [dict(config) for config in configs]))
        except RunnerError as error:
            # Nothing has begun yet: it is for the user to change something.
            raise UsageError(str(error)) from error
        if self._crew.lanes is None:
            lanes = next(worker.post.lanes for worker in self._crew.workers if worker.post is not None)
            if lanes is not None:
                self._crew.resize(lanes)
        return names

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        """Metrics on the test split; see `Runner.test`."""
        return cast(Mapping[str, float], self._ask("test", spec, row, files=self._rows([row])))

    def explore(self, spec: TrialSpec) -> Sequence[Mapping[str, Any]]:
        """What a tuner finds; see `Runner.explore`."""
        return cast(Sequence[Mapping[str, Any]], self._ask("explore", spec))

    def data(self) -> tuple[DataSet, ...]:
        """What trials are judged on; see `Runner.data`."""
        return cast(tuple[DataSet, ...], self._ask("data"))

    def targets(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        """Metrics on every target; see `Runner.targets`."""
        # What examples gave before is added to, not replaced.
        known = (target_name(path.stem) for path in self._folder.glob(target_name("*")))
        files = self._rows([*(row for _, row in trials), *known])
        return cast(Figures, self._ask("targets", list(trials), files=files))

    def _rows(self, names: Collection[str | None]) -> dict[str, bytes]:
        """Saved rows, as far as they are there: who needs one that is not says so."""
        paths = {name: self._folder / name for name in names if name}
        return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}

    # -- trials -------------------------------------------------------------------------------------------

    def free(self) -> int:
        """Lanes without a trial, over all workers."""
        return self._crew.roster.free()

    def busy(self) -> tuple[int, int]:
        """(training, all)."""
        return self._crew.roster.busy()

    def busy_seconds(self) -> tuple[float, float]:
        """(with a trial, all); see `Runner.busy_seconds`."""
        return self._crew.roster.busy_seconds()

    def start(self, specs: Sequence[TrialSpec], until: Mapping[int, int] = NOWHERE) -> None:
        """Place trials: evenly, and equal structures together; one that only a worker has goes there."""
        self._crew.roster.wait(specs, until)
        self._assign()

    def _assign(self) -> None:
        by_post = {worker.post: worker for worker in self._crew.workers}
        for post, share in self._crew.roster.assign():
            names = {
                name
                for spec in share
                # Scores: those of fold models that come later go beside the trial's own.
                for name in (spec.parent, halfway_name(spec.trial), scores_name(spec.trial))
            }
            until = self._crew.roster.until(share)
            self._crew.send(by_post[post], "start", share, until, files=self._rows(names))

    def stop(self, trials: Collection[int]) -> None:
        """Tell the workers that have these trials."""
        by_post = {worker.post: worker for worker in self._crew.workers}
        for post, here in self._crew.roster.stop(trials):
            self._crew.send(by_post[post], "stop", here)
        for trial in trials:
            remove_halfway(self._folder, trial)

    def rest(self) -> None:
        """Have all workers rest, those too that begin meanwhile."""
        self._crew.rest()

    def wake(self) -> None:
        """Have them go on."""
        self._crew.wake()

    def scale(self, workers: int) -> str:
        """Have so many workers, as far as the cluster has room; see `Scaling.scale`."""
        return self._crew.scale(workers)

    def poll(self, timeout: float) -> list[Heard]:
        """What workers said, waiting up to `timeout` seconds for the first word."""
        self._crew.renew()
        self._crew.listen(0 if self._crew.roster.has_news() else timeout)
        for worker, word in self._crew.replies:
            # Nobody asked: it could not begin, or what it does broke down as a whole.
            self._crew.lose(worker, End(last_line(word.value)))
        self._crew.replies.clear()
        self._assign()
        return self._crew.roster.heard()

    def close(self) -> None:
        """End all workers; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            self._crew.close()
        finally:
            self._link.leave()
