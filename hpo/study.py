"""A study as a folder: `journal.jsonl`, `study.toml`, `rows/`, `report.html`. Made, found, searched."""

import contextlib
import importlib
import math
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from hpo import config as configs
from hpo import rate_bounds, studyfile
from hpo.collecting import uncollected
from hpo.config import StudyConfig
from hpo.earlier import mapping, source
from hpo.earlier.former import FormerStudy
from hpo.errors import JournalError, StudyExists, StudyNotFound, UsageError
from hpo.events import EarlierTaken, Event, Listener, Noticed, StudyStarted, TrialStarted
from hpo.history import History
from hpo.listeners.mirror import Mirror
from hpo.listeners.runs import Ending
from hpo.loop import Interrupted, Search, versions
from hpo.options import unknown
from hpo.orders import Orders
from hpo.pruners.base import Pruner
from hpo.runners import base as runners
from hpo.runners.storage import Storage
from hpo.samplers.base import Sampler
from hpo.store import Journal, Latest

JOURNAL, STUDY_FILE, REPORT = "journal.jsonl", "study.toml", "report.html"
_FROM = "--from"
_PARTIAL = f".{STUDY_FILE}.partial"
_FIRST_FILES = (JOURNAL, STUDY_FILE, _PARTIAL, ".mirror.lock")  # of a search, before its first event
DEFAULT_ROOT = "studies"

# What may change when a study is taken up; all else would make its trials incomparable.
_FREE = ("limits", "runner", "tracking", "pruner", "sampler")
_FREE_KEYS = (
    *("search.pruner", "search.sampler", "search.unreported", "trial.save", "base"),
    *("seeds.replicas", "seeds.leading", "seeds.test"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a search ended."""

    history: History
    folder: Path
    interrupted: bool
    report: Path | None
    search: Search
    busy_share: (
        float  # of the lane-seconds there were, in which a trial was training; NaN when there were none
    )


Note = Callable[[str], None]


def find(name: str, root: Path) -> Path:
    """The folder of a study, given by name or by path.

    Raises:
        StudyNotFound: there is no journal there.
    """
    places = [root / name, Path(name)] if name else []
    if Path(name).name in (JOURNAL, STUDY_FILE, REPORT):
        # `hpo show studies/digits/journal.jsonl` means its folder.
        places.append(Path(name).parent)
    for folder in places:
        # os.path: a name that is too long for a file is one that is not there.
        if os.path.isfile(folder / JOURNAL):
            return folder
    known = [path.name for path in folders(root)]
    raise StudyNotFound(f"in {root}{os.sep}: {unknown('study', name, known)}")


def named(folder: Path) -> str:
    """How a command line names the study in this folder: shortly where it lies in the default place."""
    return shlex.quote(folder.name if folder.parent == Path(DEFAULT_ROOT) else str(folder))


def folders(root: Path) -> list[Path]:
    """Every study below a folder, oldest first."""
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if (path / JOURNAL).is_file()]
    return sorted(found, key=lambda path: (path / JOURNAL).stat().st_mtime)


def read(folder: Path) -> tuple[History, list[Event], str]:
    """What the journal says: its fold, its events, and a torn last line ("" when there is none).

    Raises:
        JournalError: it cannot be read as written.
    """
    events, torn = Journal(folder / JOURNAL).read()
    # Of the latest session: `resume --force` lets bounds go that nobody reports.
    start = next((event for event in reversed(events) if isinstance(event, StudyStarted)), None)
    if start is None:
        raise _never_began(folder)
    return History(config_of(start, folder).objective, events), events, torn


def _never_began(folder: Path) -> JournalError:
    return JournalError(
        f"{folder / JOURNAL} has no StudyStarted: the search was killed before its first trial. "
        f"Nothing is lost: begin it again with the same `hpo search`"
    )


def latest(folder: Path) -> Latest:
    """How the latest session stands, with the workers that it was scaled to; little of it is decoded.

    Raises:
        JournalError: it cannot be read as written.
    """
    found = Journal(folder / JOURNAL).latest()
    if found is None:
        raise _never_began(folder)
    if found.workers is None:
        return found
    table = found.start.study
    runner = {**cast(Mapping[str, Any], table.get("runner", {})), "workers": found.workers}
    return found._replace(start=replace(found.start, study={**table, "runner": runner}))


def config_of(start: StudyStarted, folder: Path, settings: Sequence[str] = ()) -> StudyConfig:
    """The study that a journal describes, without loading what it trains.

    Raises:
        UsageError: a setting that may not change.
    """
    changed = studyfile.override(studyfile.renewed(without_none(start.study)), settings)
    for setting in settings:
        path = setting.partition("=")[0].strip()
        if path.partition(".")[0] not in _FREE and path not in _FREE_KEYS:
            raise UsageError(
                f"{path} of a study cannot change: its trials would not be comparable. "
                f"Only {', '.join((*(f'[{name}]' for name in _FREE), *_FREE_KEYS))} can; "
                "or begin another study with --name"
            )
    return configs.build(
        changed, f"{folder.name}/{STUDY_FILE}", Path(str(changed["base"])), start.name, load=False
    )


def create(config: StudyConfig, root: Path) -> Path:
    """Where the study will lie; nothing is written yet.

    Raises:
        StudyExists: one of this name is there.
        UsageError: no folder can be made there.
    """
    folder = root / config.name
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UsageError(f"{existing} is not a folder: no study can lie in it")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{existing} cannot be written: choose another folder with --dir")
    if folder.exists():
        if (folder / JOURNAL).is_file() and _has_begun(folder / JOURNAL):
            raise _exists(config, folder)
        # What a search leaves that was killed before its first event is no reason to refuse.
        if any(path.name not in _FIRST_FILES for path in folder.iterdir()):
            raise StudyExists(
                f"{folder} exists and is no study: choose another name with --name, or remove it"
            )
    return folder


def _has_begun(journal: Path) -> bool:
    """Whether there is a whole line; what it says is for `read` to judge."""
    with journal.open("rb") as file:
        return file.readline().endswith(b"\n")


def _exists(config: StudyConfig, folder: Path) -> StudyExists:
    return StudyExists(
        f"study {config.name!r} exists in {folder.parent}{os.sep}: "
        f"take it up with `hpo resume {named(folder)}`, or choose another name with --name"
    )


def revision(base: Path) -> str:
    """The source revision of a folder, "" when it has none."""
    try:
        found = subprocess.run(
            ["git", "-C", str(base), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def search(
    config: StudyConfig,
    folder: Path,
    listener: Callable[[StudyConfig, runners.Runner, Path], Listener] | None = None,
    note: Note = lambda line: None,
    tracking_note: Note | None = None,
) -> Outcome:
    """Search a study, new or taken up, until a limit is reached or the user interrupts.

    Args:
        config: the study.
        folder: where it lies; made when absent, once everything has been checked.
        listener: builds the one that shows the search.
        note: told lines that the user should see.
        tracking_note: told when tracking cannot go on; by default `note`.

    Raises:
        UsageError: the task does not fit the study, or another process is searching it. Nothing was written.
    """
    fresh = not ((folder / JOURNAL).exists() and _has_begun(folder / JOURNAL))
    config = config.with_rows_of_its_own(fresh)
    formers = earlier_studies(config, folder, fresh)
    runner = runners.build(
        config.runner_name(), config.target(folder), config.lanes(), config.most_workers(), config.cluster()
    )
    journal = Journal(folder / JOURNAL)
    mirror: Mirror | None = None
    ending: Ending | None = "FAILED"  # of the study's run, until the search has ended as it should
    try:
        # While workers load the task, this process loads the sampler's library.
        sampler, pruner = _meanwhile(config)
        config.check_metrics(runner.check(config.examples()))
        data = runner.data()
        for line in config.notices:
            note(line)
        notices: list[Noticed | EarlierTaken] = []
        if config.wants_rate_bounds():
            note("lr: a range test finds its bounds")
            low, high, notice = rate_bounds.found(
                runner, config.examples(), config.seed, config.plan().split_seed, time.time()
            )
            config = config.with_rate_bounds(low, high)
            sampler = config.sampler()
            notices.append(notice)
        notices += earlier_results(config, formers)
        given = Orders(folder)
        old = given.waiting()
        _lock(journal, note)
        # From here on orders are of this search; until it looks for them they wait.
        given.forget(old)
        if fresh and _has_begun(folder / JOURNAL):
            raise _exists(config, folder)  # begun by another process since we looked
        if fresh:
            _write_study_file(config, folder)
        uri = str(config.table["tracking"]["uri"])
        listeners: list[Listener] = []
        if listener is not None:
            listeners.append(listener(config, runner, folder))
        if uri != "none":
            mirror = Mirror(
                uri,
                journal.path,
                experiment=str(config.table["tracking"]["experiment"]),
                warn=tracking_note or note,
            )
            listeners.append(mirror)
        begin = StudyStarted(
            config.name, dict(config.table), config.seed, versions(), revision(config.base), time.time()
        )
        loop = Search(
            journal,
            sampler,
            pruner,
            runner,
            History(config.objective),
            config.limits,
            config.plan(),
            begin,
            listeners,
            folder,
            config.table["trial"]["save"],
            notices=notices,
            data=data,
            compared=int(config.table["report"]["compared"]) * any(one.role == "target" for one in data),
            replicas=config.replicas(),
            gains=config.gains(),
            clock=getattr(runner, "clock", time.time),  # a replayed study has a time of its own
            orders=given,
        )
        interrupted = stopped = False
        with _drained_by_ctrl_c(loop, note):
            try:
                loop.run(() if fresh else journal)
            except Interrupted:
                interrupted = True
            except KeyboardInterrupt:  # the second Ctrl-C: nothing more is waited for
                interrupted = stopped = True
        busy, there = runner.busy_seconds()
        for line in loop.problems:
            note(line)
        ending = "KILLED" if interrupted else None
        if not interrupted:
            _clear_rows(config, note)
        report = None if stopped else write_report(folder, folder / REPORT, note)
        for one in listeners:
            if one is not mirror:
                closing: Callable[[], None] | None = getattr(one, "close", None)
                if closing is not None:
                    closing()
        if mirror is not None:
            if stopped:
                mirror.close(ending, timeout_seconds=0.0)
            else:
                mirror.close(ending)
            mirror = None
        share = busy / there if there else math.nan
        return Outcome(loop.history, folder, interrupted, report, loop, share)
    finally:
        runner.close()
        if mirror is not None:
            mirror.close(ending, timeout_seconds=20.0)
        journal.close()


def _clear_rows(config: StudyConfig, note: Note) -> None:
    """Remove what is left at a URL of trials that were under way: not all was, as they ended."""
    if url := str(config.table["runner"]["save_to"]):
        try:
            Storage(url).clear()
        except (OSError, UsageError) as error:
            note(f"rows of trials that have ended are left: {error}")


def earlier_studies(config: StudyConfig, folder: Path, fresh: bool = True) -> dict[str, FormerStudy]:
    """What the earlier studies of this one hold, by source; of a study taken up those its journal lacks.

    Raises:
        UsageError: one of them cannot be read.
    """
    told: set[str] = set()
    for event in () if fresh else Journal(folder / JOURNAL):
        if isinstance(event, EarlierTaken):
            told.add(event.source)
        elif isinstance(event, TrialStarted):
            return {}  # nothing is taken in once trials have begun
    names = tuple(config.space.domains)
    return {
        text: source.read(
            text, config.objective, names, _FROM, lambda name: read(find(name, folder.parent))[0]
        )
        for text in config.earlier
        if text not in told
    }


def earlier_results(config: StudyConfig, formers: Mapping[str, FormerStudy]) -> list[EarlierTaken | Noticed]:
    """What the study begins with of each, and a line that says so.

    Raises:
        UsageError: nothing of one of them has a place in this study.
    """
    now = time.time()
    bounds, found = config.objective.bounds, list[EarlierTaken | Noticed]()
    for text, former in formers.items():
        one = mapping.taken(text, former, config.space, f"{_FROM} {text}", now, bounds)
        found += [one, Noticed("earlier", mapping.words(one, mapping.unsaid(former, bounds)), now)]
    return found


def _meanwhile(config: StudyConfig) -> tuple[Sampler, Pruner]:
    """What this process can do while the workers load torch and the task."""
    with uncollected():
        sampler, pruner = config.sampler(), config.pruner()
        if config.runner_name() in ("processes", "ray"):
            with contextlib.suppress(ImportError):  # said when the report is written
                importlib.import_module("dashboards.report").preload()
    return sampler, pruner


def _lock(journal: Journal, note: Note) -> None:
    torn = journal.torn() if journal.path.exists() else b""
    journal.lock()
    if torn:
        note(f"{journal.path}: the last line was torn when the search was killed; it is dropped")


def complete(config: StudyConfig, folder: Path, note: Note) -> None:
    """Make the views of an ended study whole: its report, should there be none, and its MLflow runs."""
    if not (folder / REPORT).exists():
        write_report(folder, folder / REPORT, note)
    tracking = config.table["tracking"]
    if tracking["uri"] != "none":
        mirror = Mirror(
            str(tracking["uri"]), folder / JOURNAL, experiment=str(tracking["experiment"]), warn=note
        )
        mirror.start()
        mirror.close()


def _write_study_file(config: StudyConfig, folder: Path) -> None:
    import tomli_w

    text = tomli_w.dumps(without_none(config.table))
    path = folder / STUDY_FILE
    partial = path.with_name(_PARTIAL)
    partial.write_text(
        f"# Study {config.name!r}, written when it began, defaults filled in. "
        f"The journal is what `hpo resume` reads.\n\n{text}",
        encoding="utf-8",
    )
    partial.replace(path)


def without_none(value: Any) -> Any:
    """The same tables without keys that have no value: TOML has no word for nothing."""
    if isinstance(value, Mapping):
        table = cast(Mapping[str, Any], value)
        return {name: without_none(inner) for name, inner in table.items() if inner is not None}
    return value


def write_report(folder: Path, out: Path, note: Note = lambda line: None) -> Path | None:
    """The HTML report of a study; None, and a note, where the dashboards cannot be loaded or written."""
    try:
        # By name: the dashboards read what this package writes, and nothing here may depend on them.
        module = importlib.import_module("dashboards.report")
        module.write(folder, out)
    except (ImportError, OSError) as error:
        note(f"no report was written: {error}")
        return None
    return out


@contextlib.contextmanager
def _drained_by_ctrl_c(loop: Search, note: Note) -> Generator[None]:
    """One Ctrl-C (or SIGTERM) drains at the next tick, two stop at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def handle(number: int, frame: object) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            raise KeyboardInterrupt
        loop.interrupt()
        # Where the signal came in the middle of a line being written, another cannot be.
        with contextlib.suppress(RuntimeError):
            note("interrupted: ending at the next tick; once more stops at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def search_over(
    task: str | Mapping[str, Any],
    *,
    root: Path | str = DEFAULT_ROOT,
    name: str = "",
    settings: Sequence[str] = (),
    **sections: Mapping[str, Any] | str | bool,
) -> Outcome:
    """Search from Python: `task` as on the command line, or a study as a table.

    Sections of a study file are keywords: `limits={"trials": 4}`, `metric="val_accuracy"`, `tracking=False`.

    >>> outcome = search_over("digits", limits={"trials": 4})  # doctest: +SKIP

    Raises:
        UsageError: what was asked for cannot be.
    """
    if isinstance(task, str):
        table, where, base = studyfile.find(task)
    elif isinstance(cast(object, task), Mapping):
        table, where, base = dict(task), "study", Path.cwd()
    else:
        raise UsageError(
            f'task is {type(task).__name__}: name it, as on the command line ("digits", "module:Class"), '
            "or give a study as a table"
        )
    if isinstance(settings, str) or not all(isinstance(cast(object, one), str) for one in settings):
        raise UsageError(f'settings = {settings!r} must be a list of texts, such as ["limits.trials=4"]')
    for section, values in sections.items():
        before = table.get(section)
        is_section = isinstance(values, Mapping) and isinstance(before, Mapping)
        table[section] = (
            {**cast(Mapping[str, Any], before), **cast(Mapping[str, Any], values)} if is_section else values
        )
    config = configs.build(studyfile.override(table, settings), where, base, name)
    return search(config, create(config, Path(root)))
