"""What the benchmark of shifted validation says: tables of rank correlations and of what is chosen.

Intervals are bootstrapped over cells, the same cells for all scores and all sources of a draw.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.correlation import Array, spearman
from hpo.reliability import split_half
from hpo.shifted import COMPETENT
from tests.bench.shifts_case import Case
from tests.bench.shifts_scores import FAIR, SCORES, capable
from trials.seeding import stream

DRAWS = 1000
_STUDIES = 400
_EVERY = {**SCORES, **FAIR}
_RIVAL = "V_S accuracy"
_SHIFTED = ("V_A mean", "V_A difficulty-weighted", "V_A z-mean")
_HALVES = 50  # as many as `hpo.reliability` takes


# -- figures ------------------------------------------------------------------------------------------------


def chosen(case: Case, score: Array) -> Array:
    """(seeds,) target accuracy of the cell each seed chooses; ties by plain loss, then the mean over them."""
    best = score >= score.max(0) - 1e-12
    least = np.where(best, case.loss, np.inf).min(0)
    tied = best & (case.loss <= least + 1e-12)
    return (case.target * tied).sum(0) / tied.sum(0)


def _chosen_plainly(case: Case) -> Array:
    """As `chosen` by plain accuracy as it is: any of those that tie, the mean over them."""
    best = case.plain >= case.plain.max(0) - 1e-12
    return (case.target * best).sum(0) / best.sum(0)


def selected(case: Case, name: str) -> float:
    """Mean over seeds of the target accuracy that this score chooses."""
    if name == _RIVAL:
        return float(_chosen_plainly(case).mean())
    if name == "oracle":
        return float(case.target.max(0).mean())
    return float(chosen(case, _EVERY[name](case)).mean())


def rate_alone(case: Case, names: Iterable[str]) -> list[float]:
    """For every score, the mean over methods of what it chooses where only the rate is chosen."""
    methods = np.array(case.methods)
    parts = [case.some(methods == method) for method in dict.fromkeys(case.methods)]
    return [float(np.mean([selected(part, name) for part in parts])) for name in names]


def rho(case: Case, name: str, only_competent: bool) -> float:
    """Rank correlation of a score with mean target accuracy, over settings."""
    keep = capable(case) if only_competent else np.ones(case.loss.shape, bool)
    return float(spearman(_EVERY[name](case)[keep], case.target[keep]))


def drawn_cells(case: Case, seed: int = 0) -> NDArray[np.int64]:
    """(draws, cells) which cells, drawn with replacement."""
    count = len(case.methods)
    return np.random.default_rng(seed).integers(count, size=(DRAWS, count))


def drawn(case: Case, figures: Callable[[Case], Sequence[float]]) -> Array:
    """(draws, figures) of the case with its cells drawn again."""
    return np.array([figures(case.some(cells)) for cells in drawn_cells(case)])


def bounds(values: Array) -> str:
    """The 95 % interval of bootstrapped values."""
    low, high = np.nanquantile(values, (0.025, 0.975))
    return f"[{low:+.3f}, {high:+.3f}]"


def drawn_reliabilities(case: Case, examples: Array) -> Array:
    """(draws,) split-half reliability among competent settings of what (cells, seeds, images) scored.

    A setting that is drawn several times has the rank of all of them, so that ranks in a draw are a product
    of how often each is drawn with which of them is lower.
    """
    cells, seeds, size = examples.shape
    counts = np.array([np.bincount(draw, minlength=cells) for draw in drawn_cells(case)])  # (draws, cells)
    weights = np.repeat(counts, seeds, 1).astype(float)  # (draws, settings)
    plain = case.plain.ravel()
    best = np.where(weights > 0, plain, -np.inf).max(1, keepdims=True)
    weights *= plain >= best - COMPETENT
    rows, found = examples.reshape(-1, size), np.zeros(len(weights))
    for draw in range(_HALVES):
        order = stream(0, "halves", draw).permutation(size)
        halves = (rows[:, part].mean(1) for part in (order[: size // 2], order[size // 2 :]))
        found += _correlations_of_ranks(weights, *halves) / _HALVES
    return 2 * found / (1 + found)


def _correlations_of_ranks(weights: Array, first: Array, second: Array) -> Array:
    """(draws,) rank correlation of two scores (settings,), each setting counted as often as it weighs."""
    total = weights.sum(1, keepdims=True)
    apart: list[Array] = []
    for values in (first, second):
        lower = (values < values[:, None]) + 0.5 * (values == values[:, None])
        ranks = weights @ lower.T
        apart.append(ranks - (weights * ranks).sum(1, keepdims=True) / total)
    one, other = apart
    spread = np.sqrt((weights * one**2).sum(1) * (weights * other**2).sum(1))
    return (weights * one * other).sum(1) / spread


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
        lines.append(f"{case.source}: {cells} cells of {seeds} seeds, {int(capable(case).sum())} competent.")
    lines += ["", *_correlations(main, "All methods but the narrow ones"), ""]
    lines += [*_choices(main), "", *_gains(main), "", *_reliabilities(main), ""]
    lines += _small_studies(main)
    if any(case.is_narrow.any() for case in cases):
        title = "With the methods that train on one family each"
        lines += ["", *_correlations(cases, title, _EVERY), "", *_choices(cases, _EVERY), ""]
        lines += _small_studies(cases)
    return lines


def _head(title: str, cases: Sequence[Case], more: Sequence[str] = ()) -> list[str]:
    names = [title, *(case.source for case in cases), *more]
    return [f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]


def _correlations(cases: Sequence[Case], title: str, scores: Iterable[str] = SCORES) -> list[str]:
    lines = [f"**{title}: rank correlation with target accuracy, all settings / competent ones**", ""]
    lines += _head("score", cases)
    for name in scores:
        found = (f"{rho(case, name, False):.2f} / {rho(case, name, True):.2f}" for case in cases)
        lines.append(f"| {name} | {' | '.join(found)} |")
    names = (_RIVAL, "V_S loss", *_SHIFTED)
    kinds = [(name, only) for name in names for only in (True, False)]

    def rhos(case: Case) -> list[float]:
        return [rho(case, name, only) for name, only in kinds]

    found = [(np.array(rhos(case)), drawn(case, rhos)) for case in cases]
    pairs = [(name, rival) for rival in names[:2] for name in _SHIFTED]
    for name, rival in [*pairs, ("V_A z-mean", "V_A difficulty-weighted")]:
        for only, words in ((True, "competent"), (False, "all")):
            first, second = kinds.index((name, only)), kinds.index((rival, only))
            cells = (
                f"{values[first] - values[second]:+.2f} {bounds(those[:, first] - those[:, second])}"
                for values, those in found
            )
            lines.append(f"| {name} - {rival}, {words} | {' | '.join(cells)} |")
    return lines


def _small_studies(cases: Sequence[Case]) -> list[str]:
    """What studies of a few trials choose, each a few of the settings of one seed."""
    lines = ["**Share of the oracle, mean over sources, of studies of so many trials**", ""]
    names = [_RIVAL, "V_S loss", *_SHIFTED]
    lines += [f"| trials | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
    for trials in (8, 16, 32):
        generator = np.random.default_rng(trials)
        means = np.zeros(len(names) + 1)
        for case in cases:
            for _ in range(_STUDIES):
                cells = generator.choice(len(case.methods), min(trials, len(case.methods)), replace=False)
                study = case.some(cells).of_seed(int(generator.integers(case.loss.shape[1])))
                means += [selected(study, name) for name in (*names, "oracle")]
        cells = (f"{value:.3f}" for value in means[:-1] / means[-1])
        lines.append(f"| {trials} | {' | '.join(cells)} |")
    return lines


def _choices(cases: Sequence[Case], scores: Iterable[str] = SCORES) -> list[str]:
    lines = ["**Target accuracy of the chosen setting, mean over seeds**", ""]
    lines += _head("chosen by", cases, ("mean", "share of the oracle", "share - that of V_S loss"))
    names = [*scores, "oracle"]

    def accuracies(case: Case) -> list[float]:
        return [selected(case, name) for name in names]

    found = np.array([accuracies(case) for case in cases])  # (sources, scores)
    means = np.mean([drawn(case, accuracies) for case in cases], 0)  # (draws, scores)
    shares, drawn_shares = found.mean(0) / found[:, -1].mean(), means / means[:, -1:]
    rival = names.index("V_S loss")
    for number, name in enumerate(names):
        cells = " | ".join(f"{value:.3f}" for value in found[:, number])
        lines.append(
            f"| {name} | {cells} | {found[:, number].mean():.3f} | "
            f"{shares[number]:.3f} {bounds(drawn_shares[:, number])} | {shares[number] - shares[rival]:+.3f} "
            f"{bounds(drawn_shares[:, number] - drawn_shares[:, rival])} |"
        )
    return lines


def _gains(cases: Sequence[Case]) -> list[str]:
    lines = ["**Gain over the choice by plain accuracy, per cent of target accuracy**", ""]
    lines += _head("chosen by", cases, ("ratio of means",))
    names = (_RIVAL, "V_S loss", "V_A mean", "V_A difficulty-weighted", "V_A z-mean")

    def method_and_rate(case: Case) -> list[float]:
        return [selected(case, name) for name in names]

    def rate(case: Case) -> list[float]:
        return rate_alone(case, names)

    for words, figures in (("method and rate", method_and_rate), ("rate alone", rate)):
        found = np.array([figures(case) for case in cases])  # (sources, scores)
        those = np.array([drawn(case, figures) for case in cases])  # (sources, draws, scores)
        for number, name in enumerate(names[1:], 1):
            cells = [
                f"{_gain(values, number):+.1f} {_percent(_gain(draws, number))}"
                for values, draws in zip(found, those, strict=True)
            ]
            cells.append(f"{_gain(found.sum(0), number):+.1f} {_percent(_gain(those.sum(0), number))}")
            lines.append(f"| {words}: {name} | {' | '.join(cells)} |")
    return lines


def _gain(accuracies: Array, number: int) -> Array:
    """Per cent by which one of the accuracies (…, scores) is above the first."""
    return 100 * (accuracies[..., number] / accuracies[..., 0] - 1)


def _percent(values: Array) -> str:
    low, high = np.quantile(values, (0.025, 0.975))
    return f"[{low:+.1f}, {high:+.1f}]"


def _reliabilities(cases: Sequence[Case]) -> list[str]:
    lines = ["**Split-half reliability among competent settings**", "", *_head("score", cases)]
    for name in ("plain", "shifted"):
        cells: list[str] = []
        for case in cases:
            examples = getattr(case.examples, name)[case.numbers]
            low, high = np.nanquantile(drawn_reliabilities(case, examples), (0.025, 0.975))
            cells.append(f"{split_half(examples[capable(case)]):.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"| {'V_A mean' if name == 'shifted' else _RIVAL} | {' | '.join(cells)} |")
    return lines
