"""A surrogate of LCBench: perceptrons on 34 tabular data sets, 52 passes over the data, 7 hyperparameters.

Zimmer et al., "Auto-PyTorch Tabular", 2021, arXiv:2006.13799; the surrogate is that of Pfisterer et al.,
"YAHPO Gym", AutoML 2022 (Apache-2.0). Some of its optima are artefacts of the surrogate. The best known
losses in `lcbench.toml` were found by 20,000 random configs and ten rounds of small changes to the best.
"""

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from hpo.errors import MissingDependency, UsageError
from hpo.space import Float, Int, Space
from trials.spec import Config

_SPACE = Space(
    {
        "batch_size": Int(16, 512, "log"),
        "lr": Float(1e-4, 1e-1, "log"),
        "momentum": Float(0.1, 0.99),
        "weight_decay": Float(1e-5, 1e-1),
        "layers": Int(1, 5),
        "width": Int(64, 1024, "log"),
        "dropout": Float(0.0, 1.0),
    }
)
_STEPS = 52
_SECONDS, _CROSS_ENTROPY = 0, 2  # columns of what the surrogate says


@cache
def _session(path: Path) -> tuple[Any, dict[str, int]]:
    try:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise MissingDependency(
            "the surrogate of lcbench needs onnxruntime: install this project with the extra 'dev'"
        ) from error
    library = cast(Any, onnxruntime)
    # The library has an exception of its own for every way in which a file is not a model.
    kinds = cast(dict[str, Any], vars(library.capi.onnxruntime_pybind11_state)).values()
    own: tuple[type[Exception], ...] = tuple(
        kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)
    )
    try:
        options = library.SessionOptions()
        options.intra_op_num_threads = 1  # studies run side by side
        model = library.InferenceSession(
            str(path / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        codes = json.loads((path / "encoding.json").read_text(encoding="utf-8"))["OpenML_task_id"]
    except (OSError, KeyError, ValueError, RuntimeError, *own) as error:
        raise UsageError(f"{path}: no surrogate of lcbench: {error}") from error
    return model, codes


@cache
def references() -> dict[str, dict[str, float]]:
    """Instance -> its best known and its median final loss."""
    path = Path(__file__).with_name("lcbench.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


class LCBench:
    """One data set; a step is a pass over it."""

    space, steps = _SPACE, _STEPS

    def __init__(self, instance: str, folder: Path) -> None:
        self.name = f"lcbench:{instance}"
        self._model, codes = _session(folder)
        self._code = codes[instance]
        self._instance = instance

    @property
    def best_known(self) -> float:
        """The lowest final loss found so far."""
        return references()[self._instance]["best_known"]

    @property
    def median(self) -> float:
        """Of random configs."""
        return references()[self._instance]["median"]

    def losses(self, values: np.ndarray) -> np.ndarray:
        """(n,) cross-entropies of (n, 8) rows: step, then the hyperparameters in the order of the space."""
        return self._said(values)[:, _CROSS_ENTROPY].astype(float)

    def _said(self, values: np.ndarray) -> np.ndarray:
        inputs = {
            "x_cat": np.full((len(values), 1), self._code, np.int32),
            "x_cont": values.astype(np.float32),
        }
        return np.asarray(self._model.run(None, inputs)[0])

    def curve(self, config: Config, seed: int) -> np.ndarray:
        """(52,) validation cross-entropies; the seed makes no difference."""
        row = [float(config[name]) for name in _SPACE.domains]
        return self.losses(np.column_stack([np.arange(1, _STEPS + 1), np.tile(row, (_STEPS, 1))]))

    def final(self, config: Config) -> float:
        """The last of them."""
        row = [float(_STEPS), *(float(config[name]) for name in _SPACE.domains)]
        return float(self.losses(np.array([row]))[0])

    def seconds_per_step(self, config: Config) -> float:
        """As recorded: a share of what all passes over the data took."""
        row = [float(_STEPS), *(float(config[name]) for name in _SPACE.domains)]
        return max(1e-3, float(self._said(np.array([row]))[0, _SECONDS]) / _STEPS)
