"""Which rows of ended trials stay on disk: those that may yet be tested, and no others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hpo.compared import compared
from hpo.history import History, Trial
from hpo.replicas import Replicas
from hpo.rows import halfway_name, remove_halfway, remove_halfway_folder, row_name
from hpo.scores import scores_name
from hpo.traces import trace_name

Keep = Literal["best", "all", "none"]


@dataclass
class Keeping:
    """The rows in a study's folder. Without a folder there are none."""

    folder: Path | None
    history: History
    keep: Keep
    compared: int = 0  # trials that targets are read for; 0: there are none
    replicas: Replicas = field(default_factory=Replicas)
    _rows: dict[int, str] = field(default_factory=dict[int, str])  # of trials, that lie in the folder

    def discard(self, row: str) -> None:
        """Remove a row that is of no use."""
        if row and self.folder is not None:
            (self.folder / row).unlink(missing_ok=True)

    def end(self, trial: Trial) -> None:
        """The trial has ended: what was saved halfway goes, and its row unless it may be chosen."""
        if self.folder is None:
            return
        remove_halfway(self.folder, trial.spec.trial)
        if not trial.row or self.keep == "all" or self.history.objective.is_ranked:
            return
        self._rows[trial.spec.trial] = trial.row
        kept = self._kept([self.history.trials[number] for number in self._rows])
        # A trial that is not kept changes nothing of which others are.
        some = [trial.spec.trial] if trial.spec.trial not in kept else list(self._rows)
        for number in some:
            if number not in kept:
                (self.folder / self._rows.pop(number)).unlink(missing_ok=True)

    def forget(self, trial: int) -> None:
        """Remove every file of what was trained under this number and is no trial of the study."""
        if self.folder is not None:
            remove_halfway(self.folder, trial)
            for name in (row_name(trial), trace_name(trial), scores_name(trial)):
                (self.folder / name).unlink(missing_ok=True)

    def rest(self, trials: Sequence[Trial]) -> None:
        """Remove what was saved halfway of trials that will not go on."""
        if self.folder is not None:
            for trial in trials:
                remove_halfway(self.folder, trial.spec.trial)

    def close(self) -> None:
        """The study is over: no trial is under way, and none will be."""
        if self.folder is not None:
            remove_halfway_folder(self.folder)

    def _kept(self, among: Sequence[Trial]) -> set[int]:
        """Trials whose rows are kept: the best or the front, those that lead, and those read for targets."""
        history = self.history
        some = compared(history, self.compared) if self.compared else []
        # Those whose rows are gone do not lead: they never will again.
        leaders = self.replicas.leaders(history, among) if self.replicas.seeds > 1 else []
        return {trial.spec.trial for trial in (*some, *history.front, *leaders)}

    def sweep(self) -> None:
        """Remove what a killed search left: files half written, rows not tidied or to be made again."""
        if self.folder is None:
            return
        history = self.history
        numbers, keeps_all = self._kept(list(history.trials.values())), self.keep == "all"
        if history.objective.is_ranked:
            # Further trials change what families weigh and who leads: any of them may yet be chosen.
            keeps_all = True
        kept = {trial.row for trial in history.trials.values() if keeps_all or trial.spec.trial in numbers}
        self._rows = {n: trial.row for n, trial in history.trials.items() if trial.row in kept - {""}}
        rows = self.folder / "rows"
        for path in [*rows.glob("trial-[0-9]*.safetensors"), *rows.glob(".trial-[0-9]*")]:
            if path.relative_to(self.folder).as_posix() not in kept:
                path.unlink(missing_ok=True)
        for folder in ("traces", "scores", "running"):
            for path in (self.folder / folder).glob(".trial-[0-9]*"):
                path.unlink(missing_ok=True)
        under_way = {halfway_name(trial.spec.trial) for trial in (*history.running, *history.paused)}
        for path in (self.folder / "running").glob("trial-[0-9]*"):
            if path.relative_to(self.folder).as_posix() not in under_way:
                path.unlink(missing_ok=True)
