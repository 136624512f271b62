"""`hpo doctor` and `hpo ui`."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import Debug
from hpo.config import cores
from hpo.errors import MissingDependency, UsageError
from hpo.listeners.mirror import DEFAULT_URI

_NEEDED = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "optuna",
    "mlflow",
    "plotly",
    "safetensors",
    "rich",
    "typer",
)


def doctor(debug: Debug = False) -> None:
    """Check what this machine has, and say what is missing and what for."""
    problems: list[str] = []

    def line(what: str, found: str, problem: str = "") -> None:
        mark = "!!" if problem else "ok"
        sys.stdout.write(f"{mark}  {what:<14} {found}\n")
        if problem:
            problems.append(problem)
            sys.stdout.write(f"    {problem}\n")

    line("python", platform.python_version())
    for name in _NEEDED:
        try:
            line(name, version(name))
        except PackageNotFoundError:
            line(name, "missing", f"install it: pip install {name}")
    line("cores", str(cores()))
    try:
        import torch

        if torch.cuda.is_available():
            device = torch.cuda.get_device_name(0)
        else:
            device = f"none; training runs on the CPU ({torch.backends.cpu.get_cpu_capability()})"
        line("CUDA device", device)
    except ImportError as error:
        line("CUDA device", "unknown", f"torch cannot be imported: {error}")
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    line("C++ compiler", compiler or "none: training runs uncompiled, 2 to 3 times slower in long studies")
    from trials.names import cache_folder

    folder = cache_folder()
    writable = os.access(next(path for path in (folder, *folder.parents) if path.exists()), os.W_OK)
    line("cache", str(folder), "" if writable else f"{folder} cannot be written: set HPO_CACHE_DIR")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    line(
        "disk",
        f"{free:.1f} GB free here",
        "less than 1 GB: rows and journals may not fit" if free < 1 else "",
    )
    if problems:
        raise typer.Exit(1)


def ui(
    uri: Annotated[str, typer.Option(help="Tracking store to show.")] = DEFAULT_URI,
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 5000,
    debug: Debug = False,
) -> None:
    """Show the tracking store of this folder in the MLflow web interface."""
    try:
        version("mlflow")
    except PackageNotFoundError as error:
        raise MissingDependency("`hpo ui` needs mlflow: pip install 'mlflow<3.18'") from error
    path = uri.removeprefix("sqlite:///")
    if path != uri and not Path(path).is_file():
        raise UsageError(
            f"--uri {uri}: there is no file {path} here; `hpo search` writes it in the folder it is run in"
        )
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port)]
    # One user looks at it, and nothing here is MLflow's to run: a dozen processes less.
    command += ["--workers", "1"]
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    # In this process's place: who ends it ends the server.
    os.execv(sys.executable, command)
