"""The report as a browser shows it: Chromium writes its console to standard error and dumps the page."""

import html
import re
import shutil
import subprocess

import pytest

from dashboards import shapes
from dashboards.report import write
from schedules import build
from tests import events_sample as sample
from tests import traced_sample as traced

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def browse(page, folder, *options):
    """(what the page became, lines on the console)."""
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder}/profile", "--enable-logging=stderr", "--v=0"]
    command += ["--virtual-time-budget=5000", *options, "--dump-dom", page.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ran.stdout, [line for line in ran.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    sample.journal(folder, sample.events(32))
    return write(folder, folder / "report.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_without_a_word_on_the_console(report, tmp_path, scheme):
    page, console = browse(
        report, tmp_path, f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    )
    assert console == []
    for name in ("progress", "curves", "schedules", "importance", "parallel"):
        drawn = re.search(rf'id="figure-{name}"(.*?)</section>', page, re.S)
        assert drawn
        assert 'class="main-svg"' in drawn.group(1)


def test_the_console_is_heard(report, tmp_path):
    loud = tmp_path / "loud.html"
    loud.write_text("<script>undefined_name()</script>")
    assert "undefined_name" in browse(loud, tmp_path)[1][0]


def test_a_report_without_results_opens_too(tmp_path):
    sample.journal(tmp_path, [sample.start(1.0)])
    page, console = browse(write(tmp_path, tmp_path / "report.html"), tmp_path)
    assert console == []
    assert "No trial has a result" in page


PROBE = """<script>
const shown = () => [...document.querySelectorAll("#trials tbody tr")].filter((row) => !row.hidden);
const first = () => document.querySelector("#trials tbody tr").dataset.trial;
const found = {};
const heading = document.querySelector("#trials th button");
heading.click(); found.ascending = first();
heading.click(); found.descending = first();
const axes = document.getElementById("figure-parallel");
axes.emit("plotly_selected", { range: { x: [1.9, 2.1], y: [0.6, 0.9] } });
found.kept = [...new Set(shown().map((row) => row.textContent.includes("sgd")))].join();
found.some = shown().length > 0 && shown().length < 32;
axes.emit("plotly_deselect");
found.all = shown().length;
const filter = document.getElementById("filter");
filter.value = "FAILED"; filter.dispatchEvent(new Event("input"));
found.failed = shown().length;
document.title = JSON.stringify(found);
</script>"""


def test_the_table_is_sorted_filtered_and_follows_the_axes(report, tmp_path):
    probe = tmp_path / "probe.html"
    probe.write_text(
        report.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"), encoding="utf-8"
    )
    page, console = browse(probe, tmp_path)
    assert console == []
    title = html.unescape(re.search("<title>(.*?)</title>", page, re.S).group(1))
    assert title == ('{"ascending":"0","descending":"31","kept":"true","some":true,"all":32,"failed":1}')


def test_a_page_of_schedules_opens_without_a_word_on_the_console(tmp_path):
    schedules = {text: build(text, 500) for text in ("cosine", 'wsd(cooldown="sqrt")')}
    page, console = browse(shapes.write(schedules, 500, 0.1, tmp_path / "page.html"), tmp_path)
    assert console == []
    assert 'class="main-svg"' in page


def test_signals_are_drawn_without_a_word_on_the_console(tmp_path):
    sample.journal(tmp_path, traced.events(sharpness=True))
    traced.save(tmp_path, 0)
    page, console = browse(write(tmp_path, tmp_path / "report.html"), tmp_path)
    assert console == []
    drawn = re.search(r'id="figure-signals"(.*?)</section>', page, re.S)
    assert drawn
    assert 'class="main-svg"' in drawn.group(1)
