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
    assert ran == [["hpo", "init"], ["hpo", "search"], ["hpo", "search"]]
    assert (tmp_path / "studies" / "moons" / "report.html").is_file()
    assert (tmp_path / "studies" / "my_module-objective" / "report.html").is_file()


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
