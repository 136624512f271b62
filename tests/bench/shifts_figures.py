"""What the benchmark of shifted validation says: tables of rank correlations and of what is chosen.

Higher scores are better. All of `SCORES` were settled before the benchmark was run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpo.correlation import Array, spearman
from hpo.reliability import split_half
from hpo.shifted import COMPETENT
from tests.bench.shifts_methods import METHODS, RATES, Method, held_out, model, narrow_methods, rest
from tests.bench.shifts_tasks import NAMES, Domain

DRAWS = 1000


@dataclass(frozen=True)
class Case:
    """Every setting of one source: (cells, seeds, …), a cell being a method at a rate."""

    source: str
    methods: tuple[str, ...]  # (cells,)
    plain: Array  # (cells, seeds, images) 1 where right
    loss: Array  # (cells, seeds) mean, of the originals
    cooled: Array  # (cells, seeds) the same at the temperature that fits each model best
    shifted: Array  # (cells, seeds, families, images), by models that did not train on the family
    leaky: Array  # (cells, seeds, families), by the final model
    without: Array  # (cells, seeds, families) by the plain method at the same rate
    target: Array  # (cells, seeds, targets)
    narrow: Array  # (cells, families) whether the method trains on this family alone

    @classmethod
    def of(cls, source: str, keys: Sequence[str], arrays: Mapping[str, Any]) -> "Case":
        """Put together what each setting's models found; settings that are not complete are left out."""
        place = {key: number for number, key in enumerate(keys)}
        seeds = 1 + max((int(key.rpartition("|")[2]) for key in keys), default=0)
        cells: list[tuple[Method, float, list[list[int]]]] = []
        for method in (*METHODS, *narrow_methods(NAMES)):
            for lr in RATES:
                found = [_places(place, method, lr, seed) for seed in range(seeds)]
                if all(one is not None for one in found):
                    cells.append((method, lr, [one for one in found if one is not None]))
        numbers = np.array([found for _, _, found in cells])  # (cells, seeds, 1 + families + 1)
        final, scored, plain = numbers[..., 0], numbers[..., 1:-1], numbers[..., -1]
        right = arrays["right"]
        families = np.arange(len(NAMES))
        logits, truth = arrays["logits"].astype(np.float64), _labels(source)
        losses = arrays["loss"].astype(np.float64).mean(1)
        cooled = np.array([_cooled(one, truth) for one in logits])
        return cls(
            source,
            tuple(method.name for method, _, _ in cells),
            right[final][:, :, 0].astype(float),
            losses[final],
            cooled[final],
            right[scored, families + 1].astype(float),
            right[final][:, :, 1:].mean(-1),
            right[plain][:, :, 1:].mean(-1),
            arrays["target"].mean(-1)[final],
            np.array([[method.families == (name,) for name in NAMES] for method, _, _ in cells]),
        )

    def some(self, cells: Any) -> "Case":
        """These cells, perhaps some of them twice."""
        names = tuple(self.methods[cell] for cell in np.arange(len(self.methods))[cells])
        fields = ("plain", "loss", "cooled", "shifted", "leaky", "without", "target", "narrow")
        return replace(self, methods=names, **{name: getattr(self, name)[cells] for name in fields})

    @property
    def is_narrow(self) -> Array:
        """(cells,)."""
        return self.narrow.any(-1)


def _places(place: Mapping[str, int], method: Method, lr: float, seed: int) -> list[int] | None:
    """Which models: the final one, the one that scores each family, the plain method's."""
    final = place.get(model(method, method.families, lr, seed).key)
    found = dict.fromkeys(NAMES, final)
    for part in held_out(method.families):
        found.update(dict.fromkeys(part, place.get(model(method, rest(method, part), lr, seed).key)))
    wanted = [final, *found.values(), place.get(model(METHODS[0], (), lr, seed).key)]
    return None if None in wanted else [int(one) for one in wanted if one is not None]


def _labels(source: str) -> Array:
    return _LABELS.setdefault(source, Domain(source).split()[1]["label"].numpy())


_LABELS: dict[str, Any] = {}
_TEMPERATURES = np.geomspace(0.25, 4.0, 33)


def _cooled(logits: Array, labels: Any) -> float:
    """Mean loss (images, classes) at the temperature that makes it least: a setting's calibration apart."""
    scaled = logits[None] / _TEMPERATURES[:, None, None]
    top = scaled.max(-1, keepdims=True)
    logs = scaled - top - np.log(np.exp(scaled - top).sum(-1, keepdims=True))
    return float(-logs[:, np.arange(len(labels)), labels].mean(1).min())


# -- scores -------------------------------------------------------------------------------------------------


def _families(case: Case) -> Array:
    return case.shifted.mean(-1)


def _capable(case: Case) -> Any:
    """(cells, seeds) settings whose plain accuracy is near the best."""
    plain = case.plain.mean(-1)
    return plain >= plain.max() - COMPETENT


def difficulty(case: Case) -> Array:
    """Families weighted by how hard they are for competent settings."""
    found = _families(case)
    weights = 1 - found[_capable(case)].mean(0)
    return (found * weights).sum(-1) / weights.sum()


def _standardised(case: Case) -> Array:
    found = _families(case)
    some = found[_capable(case)]
    return (found - some.mean(0)) / np.maximum(some.std(0), 1e-6)


def _z(case: Case, values: Array) -> Array:
    some = values[_capable(case)]
    return (values - some.mean()) / max(some.std(), 1e-9)


def _without_own(case: Case) -> Array:
    """Standardised families, but for the one that a narrow method trains on."""
    found = np.where(case.narrow[:, None, :], np.nan, _standardised(case))
    return np.nanmean(found, -1)


def _imputed(case: Case) -> Array:
    """A narrow method's own family as if it gained there, over the plain method, what it gains elsewhere."""
    found, own = _families(case), np.broadcast_to(case.narrow[:, None, :], _families(case).shape)
    gain = np.nanmean(np.where(own, np.nan, found - case.without), -1, keepdims=True)
    return np.where(own, case.without + gain, found).mean(-1)


def _trimmed(case: Case) -> Array:
    """Without the two families that are hardest for competent settings, and the two that are easiest."""
    found = _families(case)
    order = found[_capable(case)].mean(0).argsort()
    return found[..., order[2:-2]].mean(-1)


Score = Callable[[Case], Array]
SCORES: dict[str, Score] = {
    "V_S accuracy": lambda case: case.plain.mean(-1),
    "V_S loss": lambda case: -case.loss,
    "V_S loss, temperature fitted": lambda case: -case.cooled,
    "V_A mean": lambda case: _families(case).mean(-1),
    "V_A difficulty-weighted": difficulty,
    "V_A z-mean": lambda case: _standardised(case).mean(-1),
    "V_A worst family": lambda case: _families(case).min(-1),
    "V_A without 2 hardest, 2 easiest": _trimmed,
    "z(V_A) + z(V_S loss)": lambda case: _z(case, _families(case).mean(-1)) + _z(case, -case.loss),
    "z(difficulty-weighted) + z(V_S loss)": lambda case: _z(case, difficulty(case)) + _z(case, -case.loss),
    "V_A z-mean, own family left out": _without_own,
    "V_A mean, own family imputed": _imputed,
    "V_A leaky (not allowed)": lambda case: case.leaky.mean(-1),
}


# -- figures ------------------------------------------------------------------------------------------------


def chosen(case: Case, score: Array) -> Array:
    """(seeds,) target accuracy of the cell each seed chooses; ties by plain loss, then the mean over them."""
    targets, loss = case.target.mean(-1), case.loss
    found = np.empty(score.shape[1])
    for seed in range(score.shape[1]):
        best = np.flatnonzero(score[:, seed] >= score[:, seed].max() - 1e-12)
        tied = best[loss[best, seed] <= loss[best, seed].min() + 1e-12] if len(best) > 1 else best
        found[seed] = targets[tied, seed].mean()
    return found


def _chosen_plainly(case: Case) -> Array:
    """As `chosen` by plain accuracy as it is: any of those that tie, the mean over them."""
    score, targets = case.plain.mean(-1), case.target.mean(-1)
    best = score >= score.max(0) - 1e-12
    return (targets * best).sum(0) / best.sum(0)


def selected(case: Case, name: str) -> float:
    """Mean over seeds of the target accuracy that this score chooses."""
    if name == "V_S accuracy":
        return float(_chosen_plainly(case).mean())
    if name == "oracle":
        return float(case.target.mean(-1).max(0).mean())
    return float(chosen(case, SCORES[name](case)).mean())


def rate_alone(case: Case, name: str) -> float:
    """Mean over methods of what is chosen where only the rate is."""
    parts = (
        case.some([place for place, one in enumerate(case.methods) if one == method])
        for method in dict.fromkeys(case.methods)
    )
    return float(np.mean([selected(part, name) for part in parts]))


def rho(case: Case, name: str, only_competent: bool) -> float:
    """Rank correlation of a score with mean target accuracy, over settings."""
    keep = _capable(case) if only_competent else np.ones(case.loss.shape, bool)
    return float(spearman(SCORES[name](case)[keep], case.target.mean(-1)[keep]))


def draws(case: Case, seed: int = 0) -> Iterator[Case]:
    """The case with its cells drawn again with replacement."""
    generator = np.random.default_rng(seed)
    for _ in range(DRAWS):
        yield case.some(generator.integers(len(case.methods), size=len(case.methods)))


def bounds(values: Sequence[float]) -> str:
    """The 95 % interval of bootstrapped values."""
    low, high = np.nanquantile(np.asarray(values), (0.025, 0.975))
    return f"[{low:+.3f}, {high:+.3f}]"


# -- tables -------------------------------------------------------------------------------------------------


def broad(case: Case) -> Case:
    """Without the methods that train on one family alone."""
    return case.some(~case.is_narrow)


def tables(cases: Sequence[Case]) -> list[str]:
    """Markdown."""
    main = [broad(case) for case in cases]
    lines: list[str] = []
    for case in main:
        cells, seeds = case.loss.shape
        lines.append(f"{case.source}: {cells} cells of {seeds} seeds, {int(_capable(case).sum())} competent.")
    lines += ["", *_correlations(main, "All methods but the narrow ones"), ""]
    lines += [*_choices(main), "", *_gains(main), "", *_reliabilities(main)]
    if any(case.is_narrow.any() for case in cases):
        title = "With the methods that train on one family each"
        lines += ["", *_correlations(cases, title), "", *_choices(cases)]
    return lines


def _head(title: str, cases: Sequence[Case], more: Sequence[str] = ()) -> list[str]:
    names = [title, *(case.source for case in cases), *more]
    return [f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]


def _correlations(cases: Sequence[Case], title: str) -> list[str]:
    lines = [f"**{title}: rank correlation with target accuracy, all settings / competent ones**", ""]
    lines += _head("score", cases)
    for name in SCORES:
        found = (f"{rho(case, name, False):.2f} / {rho(case, name, True):.2f}" for case in cases)
        lines.append(f"| {name} | {' | '.join(found)} |")
    for rival in ("V_S accuracy", "V_S loss"):
        for name in ("V_A mean", "V_A difficulty-weighted"):
            for only, words in ((True, "competent"), (False, "all")):
                found: list[str] = []
                for case in cases:
                    value = rho(case, name, only) - rho(case, rival, only)
                    drawn = [rho(one, name, only) - rho(one, rival, only) for one in draws(case)]
                    found.append(f"{value:+.2f} {bounds(drawn)}")
                lines.append(f"| {name} - {rival}, {words} | {' | '.join(found)} |")
    return lines


def _choices(cases: Sequence[Case]) -> list[str]:
    lines = ["**Target accuracy of the chosen setting, mean over seeds**", ""]
    lines += _head("chosen by", cases, ("mean", "share of the oracle", "share - that of V_S loss"))
    names = [*SCORES, "oracle"]
    drawn = {name: np.empty((DRAWS, len(cases))) for name in names}
    for place, case in enumerate(cases):
        for number, one in enumerate(draws(case)):
            for name in names:
                drawn[name][number, place] = selected(one, name)
    oracle = [selected(case, "oracle") for case in cases]
    loss = np.array([selected(case, "V_S loss") for case in cases])
    for name in names:
        found = np.array([selected(case, name) for case in cases])
        share = found.mean() / np.mean(oracle)
        ratio = drawn[name].mean(1) / drawn["oracle"].mean(1)
        rival = drawn["V_S loss"].mean(1) / drawn["oracle"].mean(1)
        cells = " | ".join(f"{value:.3f}" for value in found)
        lines.append(
            f"| {name} | {cells} | {found.mean():.3f} | {share:.3f} {bounds(ratio.tolist())} | "
            f"{share - loss.mean() / np.mean(oracle):+.3f} {bounds((ratio - rival).tolist())} |"
        )
    return lines


def _gains(cases: Sequence[Case]) -> list[str]:
    lines = ["**Gain over the choice by plain accuracy, per cent of target accuracy**", ""]
    lines += _head("chosen by", cases, ("ratio of means",))
    kinds = {"method and rate": selected, "rate alone": rate_alone}
    for words, choose in kinds.items():
        for name in ("V_S loss", "V_A mean", "V_A difficulty-weighted", "V_A z-mean"):
            pairs = np.array([(choose(case, name), choose(case, "V_S accuracy")) for case in cases])
            found = 100 * (pairs[:, 0] / pairs[:, 1] - 1)
            mean = 100 * (pairs[:, 0].sum() / pairs[:, 1].sum() - 1)
            cells = " | ".join(f"{value:+.1f}" for value in found)
            lines.append(f"| {words}: {name} | {cells} | {mean:+.1f} |")
    return lines


def _reliabilities(cases: Sequence[Case]) -> list[str]:
    lines = ["**Split-half reliability among competent settings**", "", *_head("score", cases)]
    found: dict[str, list[str]] = {"V_S accuracy": [], "V_A mean": []}
    for case in cases:
        keep = _capable(case)
        found["V_S accuracy"].append(f"{split_half(case.plain[keep]):.3f}")
        found["V_A mean"].append(f"{split_half(case.shifted[keep].mean(1)):.3f}")
    return [*lines, *(f"| {name} | {' | '.join(values)} |" for name, values in found.items())]
