"""The methods that are compared, and which models each needs to be scored honestly."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from trials.spec import Value
from trials.validation import fold_models

RATES = tuple(5e-3 * 100 ** (n / 9) for n in range(10))  # 0.005 to 0.5
FOLDS = (
    ("arithmetic", "artistic", "blur", "color", "contrast"),
    ("convolutional", "edges", "geometric", "morphology", "segmentation", "weather"),
)


@dataclass(frozen=True)
class Method:
    """A way of training: hyperparameters, and the families it trains on."""

    name: str
    families: tuple[str, ...] = ()
    settings: Mapping[str, Value] = field(default_factory=dict[str, Value])

    @property
    def is_narrow(self) -> bool:
        """Whether it trains on one family, which leaves no fold to train on."""
        return len(self.families) == 1


METHODS = (
    Method("plain"),
    Method("dropout", settings={"dropout": 0.5}),
    Method("decay", settings={"weight_decay": 5e-3}),
    Method("smoothing", settings={"label_smoothing": 0.1}),
    Method("aug A", FOLDS[0]),
    Method("aug B", FOLDS[1]),
    Method("aug A+B", FOLDS[0] + FOLDS[1]),
)


def narrow_methods(names: Sequence[str]) -> tuple[Method, ...]:
    """One method for each family, which trains on that family alone."""
    return tuple(Method(f"+{name}", (name,)) for name in names)


def held_out(families: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The parts of the families a method trains on: each is scored by a model that trains on the others."""
    return tuple(model.scored for model in fold_models(families, FOLDS[0] + FOLDS[1], len(FOLDS)))


@dataclass(frozen=True)
class Model:
    """One model to be trained: a method's settings with some families, at a rate."""

    settings: tuple[tuple[str, Value], ...]
    families: tuple[str, ...]
    lr: float
    seed: int

    @property
    def key(self) -> str:
        """What it is kept under."""
        settings = ",".join(f"{name}={value}" for name, value in self.settings)
        return f"{settings}|{'+'.join(self.families)}|{self.lr:.6g}|{self.seed}"

    def config(self) -> dict[str, Value]:
        """As a config of the task."""
        trained = {f"trains_{name}": 1.0 for name in self.families}
        return {"lr": self.lr, "schedule": "linear", **dict(self.settings), **trained}


def model(method: Method, families: Sequence[str], lr: float, seed: int) -> Model:
    """A method's model that trains on these families, in the order that names it."""
    settings = tuple(sorted(method.settings.items()))
    return Model(settings, tuple(sorted(families)), lr, seed)


def models(names: Sequence[str], seeds: int, narrow: Sequence[float]) -> Iterator[Model]:
    """Every model once: of all methods at all rates, and of narrow methods at some."""
    wanted = [(method, RATES) for method in METHODS]
    wanted += [(method, tuple(narrow)) for method in narrow_methods(names)]
    seen: set[str] = set()
    for seed in range(seeds):
        for method, rates in wanted:
            for lr in rates:
                for families in (
                    method.families,
                    *(rest(method, part) for part in held_out(method.families)),
                ):
                    one = model(method, families, lr, seed)
                    if one.key not in seen:
                        seen.add(one.key)
                        yield one


def rest(method: Method, part: Sequence[str]) -> tuple[str, ...]:
    """What a fold model trains on: the method's families but for the part it scores."""
    return tuple(name for name in method.families if name not in part)
