"""When a program's step is compiled, and where compiled steps are kept.

The eager step runs at once. Compiling ahead of time to a package costs 10 to 25 s on a core, loading one 2
ms, so a program is compiled in a process of its own while training goes on, and only when the steps still
to come repay it; a later study finds the package in the cache folder. A package is named by the signature of
the step (0.03 s: every operation, its shapes and constants), the versions and the processor: code that
changed never meets an old package.

Packages are native code, so the cache folder must belong to this user and be writable by nobody else.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import torch

from trials.names import cache_folder
from trials.spec import Value

if TYPE_CHECKING:
    from trials.program import Program, Step

Mode = Literal["auto", "never", "always"]

# Most rows of one compiled call on a CPU. There 4, 8 and 16 rows cost the same per trial (0.49, 0.51 and
# 0.47 ms for the digits convnet), and narrow calls waste less when few lanes are running.
WIDTH = 4
_COST_SECONDS = 20.0  # of a compilation, until one was measured here
_SETTINGS: dict[str, bool | int] = {
    "cpp.threads": 1,
    # What the processor can do is read from the processor. Trying it out on the C++ compiler as well
    # costs 8 of 34 CPU seconds; a compiler too old for it fails, with a line that says so.
    "cpp.vec_isa_ok": True,
}
_GAIN = 0.5  # share of the eager time that compiling saves: measured 0.55 to 0.7 for convnets and MLPs
_GAIN_ALONE = 0.7  # share of the time of a lane that runs alone in four compiled rows: measured 0.73 and 0.74


def _private(folder: Path) -> bool:
    """Whether the folder is this user's and nobody else may write it; made so when absent."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = folder.stat()
    except OSError:
        return False
    return facts.st_uid == os.getuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@dataclass(frozen=True)
class Origin:
    """How another process can build the same program: everything by name."""

    task: str  # as in a study file
    options: Mapping[str, Value] = field(default_factory=dict[str, Value])
    base: str = "."  # folder that relative names are looked up in
    split_seed: int = 0
    validation: Mapping[str, Any] = field(default_factory=dict[str, Any])  # fields of a `Validation`


def processor(device: torch.device) -> str:
    """What machine code for this device depends on."""
    host = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    if device.type != "cuda":
        return host
    major, minor = torch.cuda.get_device_capability(device)
    return f"{host} {torch.cuda.get_device_name(device)} {major}.{minor} CUDA {torch.version.cuda}"


def package_name(program: "Program", width: int) -> str:
    """Name of the package of a program's step: what it computes, and what its machine code depends on."""
    facts = [
        program.signature(width),
        torch.__version__,
        processor(program.device),
        sorted(_SETTINGS.items()),
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def compile_package(
    graph: torch.fx.GraphModule, arguments: tuple[Any, ...], path: Path, device: torch.device
) -> None:
    """Compile a traced step ahead of time; the package appears whole or not at all."""
    from torch._inductor import config as inductor

    partial = path.with_name(f"{path.stem}.{os.getpid()}.pt2")
    try:
        with torch.no_grad(), inductor.patch(_SETTINGS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if device.type == "cuda":
                from torch._inductor import standalone_compile

                # Python launches its kernels. That costs nothing where a tick is replayed as a device graph.
                standalone_compile(graph, list(arguments)).save(path=str(partial), format="binary")
            else:
                from torch._inductor import aoti_compile_and_package

                exported = torch.export.export(graph, arguments)
                aoti_compile_and_package(exported, package_path=str(partial))
        _sum_of(path).write_text(hashlib.sha256(partial.read_bytes()).hexdigest())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _sum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Whether the package is what was written: damaged machine code would end the process that loads it."""
    try:
        return _sum_of(path).read_text() == hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return False


def load_package(path: Path, device: torch.device) -> "Step":
    """The compiled step in a package: same arguments and effect as `Program.step`."""
    if device.type == "cuda":
        from torch._inductor.standalone_compile import CompiledArtifact

        # Packages of machine code end the process when torch 2.11 loads them on such a device.
        artifact = CompiledArtifact.load(path=str(path), format="binary")

        def call(*arguments: torch.Tensor) -> torch.Tensor:
            return artifact(*arguments)[0]

        return call
    try:
        # The public loader first imports the whole compiler, 1 s, to run what is already machine code.
        loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)  # pyright: ignore
        run = loader.boxed_run
    except AttributeError:
        from torch._inductor import aoti_load_package

        return aoti_load_package(str(path))

    def step(*arguments: torch.Tensor) -> torch.Tensor:
        return run(list(arguments))[0]

    return step


def example_arguments(program: "Program", width: int) -> tuple[torch.Tensor, ...]:
    """Arguments of the step, of the right shapes, for this many lanes."""
    return (
        *program.block(width).tensors(),
        torch.ones(width, device=program.device),
        torch.zeros(width, program.batch_size, dtype=torch.int64, device=program.device),
        *program.data(width),
    )


@dataclass
class _Plan:
    """What is known of compiling one program for calls of so many rows in this process."""

    program: "Program"
    width: int  # rows of one call
    born: int  # trial-steps that were done, of all programs, before this one was asked for
    seconds: float = 0.0  # of the steps that it would have run, had it been compiled
    steps: int = 0  # those trial-steps
    compiled: "Step | None" = None
    path: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    said: IO[bytes] | None = None  # the process's standard error
    settled: bool = False  # nothing more to decide: compiled, or not to be


class Compiler:
    """Chooses the step of each program: eager, or compiled where it pays.

    `expected_steps` is how many trial-steps the study may still ask of this process; a program's share of
    them is guessed from its share so far. `notice` gets a line when something the user may care about
    happens.
    """

    def __init__(
        self,
        mode: Mode = "auto",
        origin: Origin | None = None,
        expected_steps: int = 0,
        folder: Path | None = None,
        notice: Callable[[str], None] = lambda line: None,
    ) -> None:
        if mode not in ("auto", "never", "always"):
            raise ValueError(f"compile={mode!r} must be 'auto', 'never' or 'always'")
        self.mode: Mode = mode if origin is not None else "never"
        self.origin, self.notice = origin, notice
        self.expected_steps = expected_steps
        self.loaded = 0  # packages taken into use; a step is never compiled or loaded twice
        self._folder = folder or cache_folder() / "programs"
        # By id, then by width; a plan holds its program, so ids stay unique.
        self._plans: dict[int, dict[int, _Plan]] = {}
        self._asked: _Plan | None = None  # what the last step was run without
        self._done_steps = 0
        if self.mode != "never" and not _private(self._folder):
            notice(
                f"{self._folder} cannot be used, or may be written by other users: compiled programs are "
                "neither loaded nor kept. Remove it, or set HPO_CACHE_DIR to a folder of yours"
            )
            self.mode = "never"
        if self.mode != "never" and shutil.which(os.environ.get("CXX", "g++")) is None:
            notice("no C++ compiler (g++) found: training runs uncompiled")
            self.mode = "never"

    @classmethod
    def never(cls) -> "Compiler":
        """Everything eager."""
        return cls("never")

    def step(self, program: "Program", lanes: int, capacity: int) -> tuple["Step", int]:
        """The step for the next tick of so many running lanes, and how many rows one call of it takes."""
        if program.forward.reason:
            # Lane by lane anyway: one at a time holds the memory of one.
            return program.step, 1
        eager = lanes
        if program.device.type == "cuda":
            # A device graph is of one width: few widths, few graphs.
            eager = min(capacity, 1 << (lanes - 1).bit_length())
        if self.mode == "never":
            return program.step, eager
        # A device has room for all lanes at once, and one launch for all of them is what it is good at.
        width = capacity if program.device.type == "cuda" else min(WIDTH, capacity)
        plan = self._plan(program, width, capacity)
        if lanes == 1 < width and program.device.type != "cuda" and self.mode == "auto":
            # As a race or a study ends: idle rows of a wide call would cost as much as the one that runs.
            gain = _GAIN if plan.compiled is None else _GAIN_ALONE
            alone = self._plan(program, 1, capacity)
            if self._is_ready(alone, gain):
                plan = alone
            else:
                self._asked = alone
        elif not self._is_ready(plan, _GAIN):
            self._asked = plan
        return (program.step, eager) if plan.compiled is None else (plan.compiled, plan.width)

    def _plan(self, program: "Program", width: int, capacity: int) -> _Plan:
        plans = self._plans.setdefault(id(program), {})
        for wide in [one for one in plans if one > capacity]:
            self._end(plans.pop(wide))
        if width not in plans:
            plans[width] = self._first(program, width)
        if plans[width].process is not None:
            self._check(plans[width])
        return plans[width]

    def _is_ready(self, plan: _Plan, gain: float) -> bool:
        """Whether it is compiled; if not, it is begun where that pays."""
        if plan.compiled is None and not plan.settled and plan.process is None and self._pays(plan, gain):
            self._begin(plan.program, plan)
        return plan.compiled is not None

    def record(self, program: "Program", steps: int, seconds: float) -> None:
        """So many trial-steps of the program took so long, by the step that was given last."""
        self._done_steps += steps
        plan, self._asked = self._asked, None
        if plan is not None and plan.program is program:
            plan.seconds += seconds
            plan.steps += steps

    def courtesy(self, seconds: float) -> float:
        """Seconds to rest after working this long: a compilation that has no core of its own goes first.

        Until it is done every step costs two to four times what it will cost then.
        """
        if not any(plan.process is not None for plan in self._all()) or not _is_crowded():
            return 0.0
        return min(3 * seconds, 1.0)

    # -- deciding -----------------------------------------------------------------------------------------

    def _record(self, program: "Program", width: int) -> Path:
        """Names the package last built for a program of this description, without tracing it."""
        assert self.origin is not None
        facts = json.dumps(
            [
                self.origin.task,
                dict(self.origin.options),
                str(Path(self.origin.base).resolve()),
                program.structure,
                program.float_names,
                dict(self.origin.validation),
                [list(part.shape) for part in program.data(width)],
                width,
                torch.__version__,
                processor(program.device),
            ],
            sort_keys=True,
        )
        return self._folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"

    def _all(self) -> list[_Plan]:
        return [plan for plans in self._plans.values() for plan in plans.values()]

    def _first(self, program: "Program", width: int) -> _Plan:
        plan = _Plan(program, width, self._done_steps)
        record = self._record(program, plan.width)
        if self.mode == "always":
            self._find(program, plan)
            if plan.compiled is None and not plan.settled:
                self._begin(program, plan)
                assert plan.process is not None
                plan.process.wait()
                self._check(plan)
        elif record.exists():
            # Only now is it worth looking: the record says that there may be a package.
            self._find(program, plan)
        return plan

    def _find(self, program: "Program", plan: _Plan) -> None:
        """Load the package of the program, if there is one."""
        try:
            plan.path = self._folder / f"{package_name(program, plan.width)}.pt2"
        # The user's own code is run: whatever it raises, the step as it is still runs.
        except Exception as error:  # noqa: BLE001
            plan.settled = True
            self.notice(f"the step cannot be traced, training goes on uncompiled: {_first_line(error)}")
            return
        if program.forward.reason:
            plan.settled = True  # its lanes take turns: what cannot be mapped cannot be traced
        elif plan.path.exists():
            self._load(plan)

    def _load(self, plan: _Plan) -> None:
        assert plan.path is not None
        if not _is_whole(plan.path):
            plan.path.unlink(missing_ok=True)
            self.notice("a compiled program was damaged in the cache folder and was dropped")
            return
        try:
            plan.compiled = load_package(plan.path, plan.program.device)
            self.loaded += 1
        except RuntimeError as error:
            plan.path.unlink(missing_ok=True)
            self.notice(f"a compiled program could not be loaded and was dropped: {error}")
        plan.settled = plan.compiled is not None

    def _cost(self) -> float:
        try:
            return float(json.loads((self._folder / "cost.json").read_text())["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return _COST_SECONDS

    def _pays(self, plan: _Plan, gain: float) -> bool:
        if plan.steps < 200:
            return False
        # Its share since it was first asked for: a lane alone at the end of a study or a race stays alone.
        share = plan.steps / max(1, self._done_steps - plan.born)
        left = share * max(0, self.expected_steps - self._done_steps)
        return left * plan.seconds / plan.steps * gain > 1.5 * self._cost()

    def _begin(self, program: "Program", plan: _Plan) -> None:
        assert self.origin is not None
        request = {
            "task": self.origin.task,
            "options": dict(self.origin.options),
            "base": self.origin.base,
            "split_seed": self.origin.split_seed,
            "validation": dict(self.origin.validation),
            "structure": program.structure,
            "float_names": program.float_names,
            "folder": str(self._folder),
            "record": str(self._record(program, plan.width)),
            "width": plan.width,
            "device": str(program.device),
            "convolutions": program.convolution.told(),
            "parent": os.getpid(),
        }
        # Not a pipe: nobody reads before the end.
        plan.said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        plan.process = subprocess.Popen(
            [sys.executable, "-m", "trials.compiling"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=plan.said,
        )
        assert plan.process.stdin is not None
        plan.process.stdin.write(json.dumps(request).encode())
        plan.process.stdin.close()

    def _check(self, plan: _Plan) -> None:
        process = plan.process
        if process is None or process.poll() is None:
            return
        plan.process = None
        plan.settled = True
        assert plan.said is not None
        plan.said.seek(0)
        said = plan.said.read().decode(errors="replace").strip()
        plan.said.close()
        if process.returncode != 0:
            last = said.splitlines()[-1] if said else f"exit status {process.returncode}"
            self.notice(f"compiling failed, training goes on uncompiled: {last}")
            return
        self._find(plan.program, plan)
        plan.settled = True

    def forget(self, program: "Program") -> None:
        """The program is no longer used."""
        for plan in self._plans.pop(id(program), {}).values():
            self._end(plan)

    def close(self) -> None:
        """End what is being compiled; safe to call twice."""
        for plan in self._all():
            self._end(plan)

    def _end(self, plan: _Plan) -> None:
        if plan.process is not None:
            plan.process.terminate()
            plan.process.wait()
            assert plan.said is not None
            plan.said.close()
            plan.process, plan.settled = None, True


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_crowded() -> bool:
    """Whether more threads want to run than there are cores."""
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return True
    return running > len(os.sched_getaffinity(0))


def _end_without(parent: int) -> None:
    """End this process, and what it has started, when the one that asked for it is gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for number in child.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)
    os._exit(1)


def _main() -> None:
    """Build one package; the request comes as JSON on standard input."""
    from trials.program import Program
    from trials.task import load_task
    from trials.train import load_splits
    from trials.validation import Validation

    request = json.load(sys.stdin)
    threading.Thread(target=_end_without, args=(request["parent"],), daemon=True).start()
    folder, width = Path(request["folder"]), int(request["width"])
    torch.set_num_threads(1)
    task = load_task(request["task"], request["options"], Path(request["base"]))
    device = torch.device(request["device"])
    validation = Validation.read(request["validation"])
    splits = load_splits(task, request["split_seed"], device, validation)
    structure = tuple((name, value) for name, value in request["structure"])
    program = Program(task, splits, structure, tuple(request["float_names"]), device)
    program.convolution.hear(request["convolutions"])
    path = folder / f"{package_name(program, width)}.pt2"
    began = time.monotonic()
    lock = path.with_suffix(".lock")
    with lock.open("w") as file:
        # Two workers may want the same package: the second waits and finds it.
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        if not path.exists():
            compile_package(program.traced(width), example_arguments(program, width), path, device)
            cost = folder / f"cost.{os.getpid()}"
            cost.write_text(json.dumps({"seconds": time.monotonic() - began}))
            cost.replace(folder / "cost.json")
    Path(request["record"]).write_text(json.dumps({"package": path.name}))


if __name__ == "__main__":
    _main()
