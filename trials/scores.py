"""What a completed trial scored on every validation example: an array file beside the journal.

The journal has means. Whether another draw of examples would rank the trials alike (split-half reliability,
bootstrap over examples) is in what each example scored. It is a view: nothing is decided by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trials.files import whole

Examples = NDArray[np.float32]  # (1 + F, N): the validation split, then its copy under each family


@dataclass(frozen=True, eq=False)
class Scores:
    """Metric -> what every example scored, NaN for families that nothing was scored on (yet)."""

    families: tuple[str, ...]
    metrics: Mapping[str, Examples]

    def merged(self, other: "Scores") -> "Scores":
        """These scores, and the other's where there are none.

        Raises:
            ValueError: the other's are of other families, metrics or examples.
        """
        shapes, others = ({name: one.shape for name, one in each.metrics.items()} for each in (self, other))
        if self.families != other.families or shapes != others:
            raise ValueError(f"scores of {others} do not go with scores of {shapes}")
        both = {name: np.where(np.isnan(one), other.metrics[name], one) for name, one in self.metrics.items()}
        return Scores(self.families, both)

    def save(self, path: Path) -> None:
        """Write atomically. A metric that says right or wrong takes a bit an example, others two bytes.

        Arrays: `families` (F,), `metrics` names, `examples` N; for each metric `scored_NAME` (1 + F,) whether
        a row is known, and `bits_NAME`, packed along the examples, or `values_NAME`, (known, N) float16.
        """
        arrays: dict[str, NDArray[np.generic]] = {
            "families": np.asarray(self.families, np.str_),
            "metrics": np.asarray(list(self.metrics), np.str_),
            "examples": np.asarray(next(iter(self.metrics.values())).shape[1] if self.metrics else 0),
        }
        for name, values in self.metrics.items():
            scored = np.logical_not(np.isnan(values).all(1))
            known = values[scored]
            arrays[f"scored_{name}"] = np.asarray(scored)
            if np.isin(known, (0.0, 1.0)).all():
                arrays[f"bits_{name}"] = np.packbits(known.astype(np.bool_), axis=1)
            else:
                arrays[f"values_{name}"] = known.clip(-65504, 65504).astype(np.float16)
        with whole(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)


def unpacked(arrays: Mapping[str, NDArray[np.generic]]) -> Scores:
    """The scores that `Scores.save` wrote as these arrays.

    Raises:
        KeyError: an array is missing.
    """
    families, count = tuple(str(one) for one in arrays["families"]), int(np.asarray(arrays["examples"]))
    metrics: dict[str, Examples] = {}
    for name in (str(one) for one in arrays["metrics"]):
        scored = np.asarray(arrays[f"scored_{name}"], np.bool_)
        values = np.full((1 + len(families), count), np.nan, np.float32)
        if f"bits_{name}" in arrays:
            packed = np.asarray(arrays[f"bits_{name}"], np.uint8)
            values[scored] = np.unpackbits(packed, axis=1, count=count)
        else:
            values[scored] = arrays[f"values_{name}"]
        metrics[name] = values
    return Scores(families, metrics)


def stacked(families: Sequence[str], found: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> Scores:
    """Of one row: `found` is "" (the validation split) or a family -> metric -> (N,) scores."""
    any_row = next(iter(found.values()))
    nothing = {name: np.full(len(values), np.nan, np.float32) for name, values in any_row.items()}
    metrics = {name: np.stack([found.get(row, nothing)[name] for row in ("", *families)]) for name in any_row}
    return Scores(tuple(families), metrics)
