"""A made-up study whose trials were judged on shifted copies and, at its end, on a target."""

import numpy as np

from hpo.events import (
    DataLoaded,
    DataSet,
    StudyFinished,
    TrialFinished,
    TrialReported,
    TrialScored,
    TrialStarted,
)
from hpo.records import Examples, target_name
from hpo.scores import scores_name
from tests import events_sample as sample
from trials.scores import Scores
from trials.spec import Report
from trials.validation import FoldModel

FAMILIES = ("blur", "edges")
IMAGES, TARGET_IMAGES = 400, 300


def rights(chances, count, seed):
    """(chances, count) float32, 1 where an example was right."""
    draw = np.random.default_rng(seed)
    return (draw.random((len(chances), count)) < np.asarray(chances)[:, None]).astype(np.float32)


def chances(trial):
    """Plain, blur, edges, target: the plainly best trial, 0, is not the one that is best elsewhere."""
    return 0.99 - 0.004 * trial, 0.70 + 0.02 * trial, 0.50 + 0.05 * trial, 0.4 + 0.06 * trial


def events(folder, trials=6, narrow=1):
    """The study's events; what every example said is written to its folder."""
    yield sample.start(
        1.0, metric={"name": "shifted_accuracy", "goal": "max"}, validation={"kind": "shifted"}
    )
    yield DataLoaded((DataSet("printed", "0" * 16, TARGET_IMAGES, "target"),), 1.5)
    target, figures = Examples("0" * 16), {}
    for trial in range(trials):
        plain, blur, edges, there = chances(trial)
        found = np.stack([rights([chance], IMAGES, 7)[0] for chance in (plain, blur, edges)])
        Scores(FAMILIES, {"accuracy": found}).save(folder / scores_name(trial))
        target.add(trial, {"accuracy": rights([there], TARGET_IMAGES, 8)[0]})
        figures[str(trial)] = {"printed": {"accuracy": float(target.trials[trial]["accuracy"].mean())}}
        means = [float(row.mean()) for row in found]
        metrics = {
            "val_accuracy": means[0],
            "val_loss": 1 - means[0],
            "shifted_accuracy": (means[1] + means[2]) / 2,
            "shifted_accuracy_blur": means[1],
            "shifted_accuracy_edges": means[2],
        }
        yield TrialStarted(sample.spec(trial, {"lr": 0.1}, rungs=1), 2.0 + trial)
        yield TrialReported(Report(trial, 500, 500, 1.0, metrics), 2.2 + trial)
        if trial == narrow:
            fold = FoldModel((), ("blur",))
            yield TrialScored(trial, {"shifted_accuracy_blur": means[1]}, 500, (fold,), 2.3 + trial)
        yield TrialFinished(trial, "completed", 2.5 + trial)
    target.save(folder / target_name("printed"))
    yield StudyFinished("6 trials", 20.0, trials - 1, {}, figures)
