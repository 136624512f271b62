"""`hpo init`: a commented study file and a minimal task to edit."""

import keyword
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import Debug
from hpo.errors import UsageError

_STUDY = """# A study: what to search, and how. Run it with `hpo search {name}.toml`.

task = "{name}_task.py:Task"          # a built-in name, "module:Class", or "path/to/file.py:Class"
metric = "val_loss"                   # minimised; or {{name = "val_accuracy", goal = "max"}}

[space]                               # a plain value is fixed; ranges and choices are searched
lr = {{low = 1e-4, high = 1e-1, scale = "log"}}
weight_decay = {{low = 1e-5, high = 1e-1, scale = "log"}}
optimizer = {{choice = ["adamw", "sgd"]}}
momentum = {{low = 0.8, high = 0.99, when = {{optimizer = "sgd"}}}}   # searched only beside SGD
schedule = {{choice = ["cosine", "linear", "rex", "wsd"]}}
warmup_fraction = {{low = 0.0, high = 0.2}}
cooldown_fraction = {{low = 0.1, high = 0.5, when = {{schedule = "wsd"}}}}
width = {{choice = [16, 32, 64]}}       # whole numbers and words reach Task.model
noise = {{low = 0.0, high = 0.3}}       # floats ride in the row and reach Task.loss as `hyper`
batch_size = 64

[trial]
steps = 300                           # budget of one trial, in optimizer steps
reports = 10                          # how often it is evaluated on the way

[search]
sampler = "curve"                     # random, sobol, grid, curve, tpe, gp, cmaes, nsga2
pruner = "asha"                       # never, median, asha, trust, pause
seed = 0

[limits]                              # the first one reached ends the study
trials = 32                           # also: total_steps, seconds, target, no_improvement, min_improvement

[tracking]
uri = "sqlite:///mlflow.db"           # `hpo ui` shows it; "none" for no tracking
"""

_TASK = '''"""The task of {name}.toml: two moons told apart by a small network.

Replace the data and the model by yours.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from trials.noise import uniform
from trials.task import Splits


class Task:
    """What `hpo search` trains; see the README for what each method may do."""

    defaults = {{"width": 32, "noise": 0.0}}  # used where the study says nothing

    def data(self, split_seed):
        """Named tensors; the first axis counts examples. `test` is read once, by the final report."""
        generator = torch.Generator().manual_seed(0)
        angle = torch.rand(1000, generator=generator) * math.pi
        label = torch.randint(0, 2, (1000,), generator=generator)
        sign = 1.0 - 2.0 * label
        x = torch.stack([sign * angle.cos() + label, sign * angle.sin() + 0.5 * label], 1)
        x = x + 0.25 * torch.randn(1000, 2, generator=generator)
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(split_seed))
        train, val, test = ({{"x": x[part], "y": label[part]}} for part in order.split([600, 200, 200]))
        return Splits(train, val, test)

    def model(self, config):
        """A fresh model from whole numbers and words; floats are not here."""
        width = config["width"]
        hidden = [nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(width, 2))

    def loss(self, model, batch, hyper):
        """The mean over the batch. `hyper` holds the float hyperparameters, each a tensor."""
        x = batch["x"] + hyper["noise"] * (uniform(*batch["x"].shape) - 0.5)
        return F.cross_entropy(model(x), batch["y"])

    def metrics(self, model, batch):
        """One value for each example; reported as val_loss and val_accuracy."""
        logits = model(batch["x"])
        return {{
            "loss": F.cross_entropy(logits, batch["y"], reduction="none"),
            "accuracy": (logits.argmax(-1) == batch["y"]).float(),
        }}
'''


def init(
    name: Annotated[
        str, typer.Argument(help="Name of the study; files NAME.toml and NAME_task.py are written.")
    ],
    debug: Debug = False,
) -> None:
    """Write a commented study file and a minimal task that you can edit."""
    if not name.replace("-", "_").isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"NAME {name!r} must be letters, digits, - and _, beginning with a letter")
    files = {Path(f"{name}.toml"): _STUDY, Path(f"{name}_task.py"): _TASK}
    for path in files:
        if path.exists():
            raise UsageError(f"{path} exists: choose another NAME, or remove it")
    for path, text in files.items():
        try:
            path.write_text(text.format(name=name), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        sys.stdout.write(f"wrote {path}\n")
    sys.stdout.write(f"run it with: hpo search {name}.toml\n")
