"""Config -> recipe: what picks the program, and what rides in the row.

What shapes the computation (whole numbers, words, switches) is the structure; trials of equal structure
share a program. Floats are tensors the program reads, one per lane, so a new value compiles nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from schedules import spec as schedule_spec
from schedules.hypergradient import RULES, check_floats
from trials.names import hint
from trials.optim import OPTIMIZERS
from trials.spec import Config, Value
from trials.task import Task, attribute
from trials.validation import SHIFT_SHARE, TRAIN_FAMILIES, TRAINS, families_of

# What every program is told of, whatever its task; the rest of the structure goes to Task.model.
DEFAULTS: dict[str, Value] = {
    "optimizer": "adamw",
    "batch_size": 64,
    "gradient_accumulation_steps": 1,
    "precision": "float32",
    "rule": "none",
    "rule_scope": "all",
}
PRECISIONS = ("float32", "tf32", "bfloat16")
RULE_SCOPES = ("all", "groups")
CLIP = "clip_norm"
RATIO = "lr_ratio_"


class Structure(Mapping[str, Value]):
    """The part of a config that shapes the model. Asking it for a float says where floats are."""

    def __init__(self, values: Mapping[str, Value], floats: tuple[str, ...], read: set[str]) -> None:
        self._values, self._floats, self._read = dict(values), floats, read

    def __getitem__(self, name: str) -> Value:
        self._read.add(name)
        if name not in self._values and name in self._floats:
            raise ValueError(
                f"hyperparameter {name!r} is a float: it rides in the row and reaches Task.loss in `hyper`. "
                f"If the model itself needs it, list it in the task: structure = ({name!r},)"
            )
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        if name in self._floats and name not in self._values:
            self[str(name)]
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Floats(Mapping[str, Tensor]):
    """The float hyperparameters of a lane; remembers which were asked for, and says where the others are."""

    def __init__(self, values: Mapping[str, Tensor], structure: Mapping[str, Value], read: set[str]) -> None:
        self._values, self._structure, self._read = values, structure, read

    def __getitem__(self, name: str) -> Tensor:
        self._read.add(name)
        if name not in self._values and name in self._structure:
            value = self._structure[name]
            advice = f"; to have it here, write {float(value)} in the study" if isinstance(value, int) else ""
            raise ValueError(
                f"hyperparameter {name!r} is {value!r}, no float: it picks the program and reaches "
                f"Task.model, not Task.loss{advice}"
            )
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Recipe:
    """A config taken apart: what picks the program, what rides in the row, what the schedule is made of."""

    structure: tuple[tuple[str, Value], ...]  # sorted; DEFAULTS among them
    floats: tuple[tuple[str, float], ...]  # sorted; every float hyperparameter with the optimizer's defaults

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for trials that share a program."""
        return self.structure, tuple(name for name, _ in self.floats)


def _is_whole_float(name: str, value: Value, defaults: Mapping[str, Value]) -> bool:
    """Whether this is a float hyperparameter written as a whole number, such as dropout = 0."""
    return isinstance(defaults.get(name), float) and isinstance(value, int) and not isinstance(value, bool)


def recipe(task: Task, config: Config, views: Sequence[str] = ()) -> Recipe:
    """Take a config apart; `views` are the families that there are training copies of.

    Raises:
        ValueError: an optimizer, batch size or float hyperparameter that cannot be.
    """
    defaults = attribute(task, "defaults")
    full: dict[str, Value] = {**DEFAULTS, **defaults, **config}
    shifts = _shift_floats(full, views)
    for name in schedule_spec.HYPERPARAMETERS:
        full.pop(name, None)
    optimizer = OPTIMIZERS.get(str(full["optimizer"]))
    if optimizer is None:
        raise ValueError(
            f"optimizer={full['optimizer']!r} is unknown{hint(str(full['optimizer']), OPTIMIZERS)}"
        )
    for name in ("batch_size", "gradient_accumulation_steps"):
        count = full[name]
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name}={count!r} must be a whole number of at least 1")
    if full["precision"] not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ValueError(f"precision={full['precision']!r} is unknown; known: {known}")
    rule = _rule_defaults(full)
    own = {**optimizer.defaults, **rule}
    # What belongs to another optimizer or rule, such as momentum beside AdamW: nothing here reads it.
    others = [*OPTIMIZERS.values(), *RULES.values()]
    foreign = {name for other in others for name in other.defaults if name not in own}
    shaping = set(attribute(task, "structure"))
    groups = attribute(task, "groups")
    if full["rule_scope"] == "groups" and not groups:
        raise ValueError("rule_scope='groups': the task names no weight groups; give it `groups`")
    floats: dict[str, float] = {**own, **shifts}
    structure: dict[str, Value] = {}
    for name, value in full.items():
        if name in own or name == CLIP or name.startswith(RATIO):
            if isinstance(value, (bool, str)):
                raise ValueError(f"{name}={value!r} must be a number")
            if name.startswith(RATIO) and name.removeprefix(RATIO) not in groups:
                known = ", ".join(f"{RATIO}{group}" for group in groups) or "none"
                raise ValueError(f"{name}: the task has no such weight group; known: {known}")
            floats[name] = float(value)
        elif name in foreign:
            continue
        elif name not in shaping and (isinstance(value, float) or _is_whole_float(name, value, defaults)):
            floats[name] = float(value)
        else:
            structure[name] = value
    if floats.get("lr", 0.0) < 0:
        raise ValueError(f"lr={floats['lr']:g} must be at least 0")
    return Recipe(tuple(sorted(structure.items())), tuple(sorted(floats.items())))


def _shift_floats(full: dict[str, Value], views: Sequence[str]) -> dict[str, float]:
    """What rides in the row of training with shifts; its hyperparameters are taken out of the config.

    Whole numbers of the mask are floats: another set of families is another number in the row, and no other
    program.
    """
    named = full.pop(TRAIN_FAMILIES, "none")
    if not views:
        if named != "none":
            raise ValueError(
                f"{TRAIN_FAMILIES}={named!r}: there are no training copies; the task names no parts that can "
                "be shifted, or what trains was not told that it is searched over"
            )
        return {}
    trained = families_of(named, views)
    share = full.pop(SHIFT_SHARE, len(trained) / (len(trained) + 1))
    if isinstance(share, (bool, str)) or not 0 <= share <= 1:
        raise ValueError(f"{SHIFT_SHARE}={share!r} must be a number from 0 to 1")
    return {
        **{f"{TRAINS}{family}": float(family in trained) for family in views},
        SHIFT_SHARE: float(share),
    }


def _rule_defaults(full: Mapping[str, Value]) -> Mapping[str, float]:
    """The float hyperparameters of the rule that a config names; none where it names none."""
    name, scope = full["rule"], full["rule_scope"]
    if scope not in RULE_SCOPES:
        raise ValueError(f"rule_scope={scope!r} is unknown; known: {', '.join(RULE_SCOPES)}")
    if name == "none":
        return {}
    if name not in RULES:
        raise ValueError(f"rule={name!r} is unknown{hint(str(name), ('none', *RULES))}")
    check_floats(full)
    return RULES[str(name)].defaults
