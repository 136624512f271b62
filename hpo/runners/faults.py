"""What is wrong where trials train, in words for the person who has to act."""

import traceback
from pathlib import Path

import torch

from hpo.errors import UsageError
from trials.task import default_device


def device_of(name: str) -> torch.device:
    """The device of this name, tried out; the best there is for "".

    Raises:
        UsageError: there is none of this name, or it cannot be used.
    """
    known = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    known += ["mps"] * torch.backends.mps.is_available()
    if name and name not in known and not (name == "cuda" and "cuda:0" in known):
        raise UsageError(f"device={name!r} is not there: this machine has {', '.join(known)}")
    device = torch.device(name) if name else default_device()
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device={name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


# This package and those it is built on: a line in them helps nobody.
_OURS = tuple(f"{Path(__file__).parents[2] / name}/" for name in ("hpo", "trials", "schedules"))


def one_line(reference: str, error: Exception) -> str:
    """What went wrong in the user's code, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if "/site-packages/" not in frame.filename and not frame.filename.startswith(_OURS)
    ]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    kind = "" if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: "
    text = str(error).strip() or type(error).__name__
    return f"task {reference!r}: {kind}{text}{place}"
