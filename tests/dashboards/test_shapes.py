import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from dashboards import gallery, shapes
from schedules import SCHEDULES, build

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("text", ["multistep", "one_cycle", "wsd(warmup_fraction=0.1)"])
def test_a_figure_follows_the_schedule_between_its_points(text):
    (line,) = shapes.shapes({text: build(text, 5000)}, 5000, lr=0.1).data
    steps = np.arange(5000)
    assert len(line.x) < 1000
    np.testing.assert_allclose(
        np.interp(steps, line.x, line.y), 0.1 * build(text, 5000)(steps), atol=0.1 * 1.1e-3
    )


def test_many_schedules_are_told_apart():
    names = [f"linear(floor=0.{i})" for i in range(8)]
    figure = shapes.shapes({name: build(name, 10) for name in names}, 10)
    assert len({(line.line.color, line.line.dash) for line in figure.data}) == 8
    assert figure.layout.showlegend


def test_names_are_only_ever_shown(tmp_path):
    name = "<script>alert(1)</script>.toml"
    page = shapes.write({name: build("linear", 10)}, 10, None, tmp_path / "page.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)], re.sub(r"-?\d+\.\d+", "", text)


@pytest.mark.parametrize("name", gallery.pictures())
def test_pictures_of_the_documentation_are_up_to_date(name):
    """Run `make pictures` if they are not; a tenth of a pixel may differ between machines."""
    found, words = numbers((ROOT / "docs" / "pictures" / name).read_text(encoding="utf-8"))
    wanted, wanted_words = numbers(gallery.pictures()[name])
    assert words == wanted_words
    np.testing.assert_allclose(found, wanted, atol=0.11)


def test_there_is_a_picture_of_every_family_and_no_other():
    lying = {path.name for path in (ROOT / "docs" / "pictures").glob("*.svg")}
    assert {f"{name}.svg" for name in SCHEDULES} < set(gallery.pictures())
    assert set(gallery.pictures()) <= lying


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_picture_stays_inside_its_frame(name):
    root = ElementTree.fromstring(gallery.pictures()[f"{name}.svg"])
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) >= 2
    for line in lines:
        points = np.array([point.split(",") for point in line.attrib["points"].split()], dtype=float)
        assert (points >= 0).all()
        assert (points <= [gallery.WIDTH, gallery.HEIGHT]).all()


def test_the_command_writes_them(tmp_path):
    gallery.main(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(gallery.pictures())
