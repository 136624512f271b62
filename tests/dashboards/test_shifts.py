"""The shift report: a picture of the trials that lead, and what scores choose, foretell and are worth."""

import pytest

from dashboards.figures.shifts import shifts
from dashboards.load import fold
from dashboards.report import render
from dashboards.shifted import shifted
from hpo.transfer import judged, told_metric
from tests import events_sample as sample
from tests.shifted_sample import events


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return fold(list(events(folder)), folder)


@pytest.fixture(scope="module")
def judgements(study):
    return judged(study.history, 8)


def test_a_row_is_a_trial_and_a_column_a_score_shaded_from_its_worst_to_its_best(study, judgements):
    heat, numbers = shifts(judgements, told_metric(study.history)).data
    assert heat.x == ("plain", "blur", "edges", "mean", "worst", "standardised", "→ printed")
    assert heat.y[0] == "trial 5"
    assert "trial 1 *" in heat.y
    for column in range(len(heat.x)):
        shades = [row[column] for row in heat.z]
        assert (min(shades), max(shades)) == (0.0, 1.0)
    assert len(numbers.text) == len(heat.x) * len(heat.y)
    assert [row[0] for row in heat.z][heat.y.index("trial 0")] == 1.0


def test_the_text_says_who_is_chosen_what_is_narrow_and_what_was_foretold(study, judgements):
    text = shifted(study, judgements, told_metric(study.history))
    assert "Plain scores choose trial 0, shifted ones trial 5" in text
    assert "* Trained on one family alone: 1 (blur)." in text
    assert "tells these trials apart" in text
    assert "<td>printed</td><td>6</td><td>-0.97 [" in text


def test_the_page_has_both(study):
    page = render(study)
    assert 'id="figure-shifts"' in page
    assert "What the scores choose" in page


def test_a_study_without_shifts_has_neither(tmp_path):
    study = fold(list(sample.events(8)), tmp_path)
    page = render(study)
    assert 'id="shifts"' not in page
    assert "What the scores choose" not in page


def test_names_from_elsewhere_are_escaped(study, judgements):
    from dataclasses import replace

    evil = [replace(one, targets={"<b>": 0.5}) for one in judgements]
    assert "<b>" not in shifted(study, evil, told_metric(study.history))
    assert "→ &lt;b&gt;" in shifts(evil, told_metric(study.history)).data[0].x
