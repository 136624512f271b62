"""The forward pass of K lanes: mapped over the lanes, or one lane after another where that cannot be.

`vmap` has no form for some operations: those whose result's shape depends on the data, those that read a
number back to the host, those that draw from torch's own generator. A model that uses one is trained lane by
lane, by the same code, and one line says which operation was the reason.
"""

import sysconfig
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map

from trials.data.gate import generator
from trials.noise import ForeignNoiseError
from trials.spec import is_out_of_memory

# A forward pass of one lane: its own tensors, then the key of its noise (or None), then what is shared.
OfLane = Callable[..., Any]


class _LastCalled(TorchFunctionMode):
    """Remembers the name of the function of torch that was called last."""

    name = ""

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Remember, then call."""
        self.name = resolve_name(func) or getattr(func, "__name__", str(func))
        return func(*args, **(kwargs or {}))


def _own_frame(error: BaseException) -> str:
    """File and line of the innermost code that is neither Python's, torch's nor this project's."""
    foreign = (str(Path(__file__).parent), sysconfig.get_path("stdlib"))
    for frame in reversed(traceback.extract_tb((error.__cause__ or error).__traceback__)):
        if "/torch/" not in frame.filename and not frame.filename.startswith(foreign):
            return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""


@dataclass
class Forward:
    """Runs a forward pass for K lanes; finds out once whether it can be mapped.

    `reason` is why lanes run one after another, "" while they run side by side. `notice` gets one line when
    that is found out.
    """

    what: str = "trained"  # what is done with lanes, for the line
    notice: Callable[[str], None] = lambda line: None
    reason: str = ""
    _is_proven: bool = False

    def __call__(
        self, of_lane: OfLane, lanes: tuple[Any, ...], stream: Tensor | None, shared: tuple[Any, ...] = ()
    ) -> Any:
        """`of_lane(*one lane of each, key, *shared)` for every lane, results stacked on a new first axis.

        Raises:
            Exception: whatever the model raises for one lane alone.
        """
        if self.reason:
            return self._in_turn(of_lane, lanes, stream, shared)
        if self._is_proven:
            return self._mapped(of_lane, lanes, stream, shared)
        try:
            found = self._mapped(of_lane, lanes, stream, shared)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # What fails for one lane alone is the user's mistake, and told as such.
            found = self._in_turn(of_lane, lanes, stream, shared)
            self._give_up(of_lane, lanes, stream, shared, error)
            return found
        self._is_proven = True
        return found

    def _mapped(self, of_lane: OfLane, lanes: tuple[Any, ...], stream: Tensor | None, shared: Any) -> Any:
        dims = (*(0 for _ in lanes), None if stream is None else 0, *(None for _ in shared))
        return vmap(of_lane, in_dims=dims)(*lanes, stream, *shared)

    def _in_turn(self, of_lane: OfLane, lanes: tuple[Any, ...], stream: Tensor | None, shared: Any) -> Any:
        first = tree_leaves(lanes)[0]
        found: list[Any] = []
        for lane in range(len(first)):
            own = tree_map(lambda tensor, lane=lane: tensor[lane], lanes)
            key = None if stream is None else stream[lane]
            devices = [first.device] if first.device.type == "cuda" else []
            # Operations that draw from torch's own generator follow the lane and the step all the same.
            with generator.alone(), torch.random.fork_rng(devices=devices):
                torch.manual_seed(0 if key is None else int(key))
                # What is shared is this lane's to change, as it is under `vmap`.
                found.append(of_lane(*own, key, *tree_map(torch.clone, shared)))
        return tree_map(lambda *parts: torch.stack(parts), *found)

    def _give_up(
        self, of_lane: OfLane, lanes: tuple[Any, ...], stream: Tensor | None, shared: Any, error: Exception
    ) -> None:
        last = _LastCalled()
        try:
            with last:
                self._mapped(of_lane, lanes, stream, shared)
        except Exception as again:  # noqa: BLE001 - it raised before; now it is known where
            error = again
        advice = "replace it to have them side by side"
        if isinstance(error, ForeignNoiseError):
            advice = "draw with trials.noise.uniform in its place to have them side by side"
        self.reason = (
            f"{last.name or type(error).__name__}{_own_frame(error)} has no form for several lanes at once: "
            f"trials are {self.what} one after another; {advice}"
        )
        self.notice(self.reason)
