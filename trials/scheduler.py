"""Any schedule as a scheduler of torch, for those who keep their own training loop."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from schedules import Schedule, build, load_knots, replay
from schedules.export import SUFFIXES


class ScheduleLR(LRScheduler):
    """Sets the rate of each group of parameters to its own rate times the factor of the schedule.

    Call `step()` after each `optimizer.step()`: it counts updates, as schedules do, not passes over the data.
    The schedule is a function of the step, the text of a family with the number of updates as its `horizon`,
    or a file that `hpo export --what schedule` wrote, which has steps of its own.

    The state holds the step and the rates, nothing that cannot be loaded with `weights_only=True`, and not
    the schedule: to go on, make the same one and load the state, or give `last_epoch`, as for torch's own.

    >>> weight = torch.nn.Parameter(torch.zeros(3))
    >>> optimizer = torch.optim.SGD([weight], lr=0.5)
    >>> scheduler = ScheduleLR(optimizer, "linear(warmup_fraction=0.5)", horizon=4)
    >>> for _ in range(4):
    ...     print(scheduler.get_last_lr())
    ...     optimizer.step()
    ...     scheduler.step()
    [0.25]
    [0.5]
    [0.5]
    [0.25]

    Raises:
        ValueError: no such schedule or file; a text without a horizon, or a horizon with anything else; a
            factor that is not finite or below 0; a state for another number of groups.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule | str | Path,
        last_epoch: int = -1,  # torch's word for the steps that were done, less one
        *,
        horizon: int | None = None,
    ) -> None:
        self.schedule = _schedule(schedule, horizon)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each group for the update about to be applied."""
        found = np.asarray(self.schedule(self.last_epoch), dtype=np.float64)
        if found.shape != () or not np.isfinite(found) or found < 0:
            raise ValueError(f"the schedule gives {found} at step {self.last_epoch}: one number, at least 0")
        if len(self.base_lrs) != len(self.optimizer.param_groups):
            raise ValueError(
                f"the optimizer has {len(self.optimizer.param_groups)} groups of parameters, this scheduler "
                f"{len(self.base_lrs)}: make it after the last group is added"
            )
        # Floats of Python, whatever the rates were given as: others cannot be loaded with weights_only.
        factor = float(found)
        return [(rate if isinstance(rate, Tensor) else float(rate)) * factor for rate in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """The step and the rates."""
        state = {name: value for name, value in super().state_dict().items() if name != "schedule"}
        state["base_lrs"] = [rate if isinstance(rate, Tensor) else float(rate) for rate in self.base_lrs]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the state was taken; load that of the optimizer too, which has the rate in use."""
        groups, found = len(self.base_lrs), len(state_dict.get("base_lrs", ()))
        if found != groups:
            raise ValueError(f"the state is for {found} groups of parameters, the optimizer has {groups}")
        super().load_state_dict(state_dict)


def _schedule(given: Schedule | str | Path, horizon: int | None) -> Schedule:
    is_file = isinstance(given, Path) or (isinstance(given, str) and given.endswith(SUFFIXES))
    if isinstance(given, str) and not is_file:
        if horizon is None:
            raise ValueError(
                f"schedule {given!r} needs horizon=, the number of updates of the whole training"
            )
        return build(given, horizon)
    if horizon is not None:
        raise ValueError(f"horizon={horizon} is for the text of a schedule; this one has steps of its own")
    if is_file:
        return replay(load_knots(Path(str(given))))
    if not callable(given):
        raise ValueError(f"schedule={given!r} must be a function of the step, a text or a file")
    return given
