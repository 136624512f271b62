"""What is wrong where trials train, in words for the person who has to act."""

import re
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


def one_line(reference: str, error: Exception) -> str:
    """What went wrong in the user's code, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/site-packages/" not in frame.filename]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    kind = "" if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: "
    text = str(error).strip() or type(error).__name__
    if "random operation" in text and "vmap" in text:
        kind = ""
        text = (
            "something in it draws random numbers of its own, which cannot follow a lane: use "
            "trials.noise.uniform and trials.noise.Dropout, and set the dropout of ready-made layers to 0"
        )
    missing = re.search(r"Batching rule not implemented for (aten::\w+)", text)
    if missing:
        kind = ""
        text = (
            f"{missing[1]} has no form for several lanes at once: replace that layer, "
            "or search a function that trains the model itself"
        )
    return f"task {reference!r}: {kind}{text}{place}"
