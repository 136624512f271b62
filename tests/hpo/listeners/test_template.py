import contextlib
import os
import sqlite3

import pytest

from hpo.listeners.template import prepare


@pytest.fixture
def build():
    """Makes a store as MLflow does: with a default experiment that names its folder. Counts how often."""

    class Build:
        made = 0

        def __call__(self, uri):
            self.made += 1
            with (
                contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection,
                connection,
            ):
                connection.execute("CREATE TABLE experiments (artifact_location TEXT)")
                connection.execute("INSERT INTO experiments VALUES ('somewhere else')")

    return Build()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM experiments").fetchall()


def test_a_store_is_built_once_and_copied_from_then_on(tmp_path, build):
    for name in ("first.db", "second.db"):
        prepare(f"sqlite:///{tmp_path / name}", "1.0", build)
        assert rows(tmp_path / name) == []
    assert build.made == 1
    prepare(f"sqlite:///{tmp_path / 'third.db'}", "2.0", build)
    assert build.made == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "first.db", "second.db", "third.db"]


@pytest.mark.parametrize("left", ["mlflow.db", "mlflow.db-journal", "mlflow.db-wal"])
def test_what_is_there_is_left_alone(tmp_path, build, left):
    (tmp_path / left).write_text("of the user")
    prepare(f"sqlite:///{tmp_path}/mlflow.db", "1.0", build)
    assert build.made == 0
    assert [path.name for path in tmp_path.iterdir()] == [left]
    assert (tmp_path / left).read_text() == "of the user"


@pytest.mark.parametrize(
    "uri", ["http://localhost:1", "sqlite://", "sqlite:///:memory:", "sqlite:////no/such/x.db"]
)
def test_other_stores_are_left_to_mlflow(uri, build):
    prepare(uri, "1.0", build)
    assert build.made == 0


def test_without_a_cache_the_store_is_built_beside_its_place(tmp_path, build, cache):
    cache.write_text("a file, so no folder")
    prepare(f"sqlite:///{tmp_path}/mlflow.db", "1.0", build)
    assert rows(tmp_path / "mlflow.db") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "mlflow.db"]


def test_a_store_made_meanwhile_wins(tmp_path, build, monkeypatch):
    link = os.link

    def late(source, target):
        target.write_text("of another study")
        link(source, target)

    monkeypatch.setattr("os.link", late)
    prepare(f"sqlite:///{tmp_path}/mlflow.db", "1.0", build)
    assert (tmp_path / "mlflow.db").read_text() == "of another study"
