"""What the README tells a new user to type works as written, in the order it is written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_commands_of_the_readme_work(tmp_path):
    module = next(block for block in blocks("python") if block.startswith("# my_module.py"))
    (tmp_path / "my_module.py").write_text(module, encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ran = []
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line)
        if words[0] in ("make", "."):
            continue  # set up already: that is how these tests run
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "HPO_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        ran.append(words[:2])
    wanted = ["init", "search", "search", "train", "schedule"]
    assert ran == [["hpo", command] for command in wanted]
    assert (tmp_path / "studies" / "moons" / "report.html").is_file()
    assert (tmp_path / "studies" / "my_module-objective" / "report.html").is_file()


def test_the_strengths_of_the_readme_are_searched_in_one_program(tmp_path):
    import numpy as np
    import torch

    from trials.checking import check
    from trials.lanes import Lanes
    from trials.program import recipe
    from trials.spec import TrialSpec
    from trials.task import load_task
    from trials.train import build, load_splits

    module = next(block for block in blocks("python") if block.startswith("# my_floats.py"))
    (tmp_path / "my_floats.py").write_text(module, encoding="utf-8")
    task = load_task("my_floats.py:MyDigits", base=tmp_path)
    device = torch.device("cpu")
    splits = load_splits(task, 0, device)
    strengths = {"dropout": 0.4, "shift": 0.9, "mixup": 1.0, "label_smoothing": 0.3, "decay": 0.01}
    configs = [{"lr": 0.01}, *({"lr": 0.01, name: value} for name, value in strengths.items())]
    assert "val_accuracy" in check(task, splits, configs, device)
    assert len({recipe(task, config).key for config in configs}) == 1
    lanes = Lanes(build(task, splits, recipe(task, configs[0]), device), len(configs))
    for trial, config in enumerate(configs):
        lanes.admit(TrialSpec(trial, config, 5, 3, (3,), 3, 0))
    losses = lanes.run(np.ones((3, len(configs))))
    assert np.isfinite(losses).all()
    # Equal seeds, so that nothing but the strength sets a lane apart.
    assert all((losses[:, 0] != losses[:, lane]).any() for lane in range(1, len(configs)))


def test_make_knows_what_the_readme_names():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    documents = TEXT + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\bmake ([a-z]+)\b", documents)) <= targets


def test_the_study_file_of_the_readme_is_valid():
    import tomllib

    from hpo import config

    for block in blocks("toml"):
        built = config.build(tomllib.loads(block), "README.md", ROOT)
        assert built.space.domains


def test_files_that_the_readme_links_to_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
