import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.dominance import ahead, beats, fronts

# Few values, so that trials tie.
rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.0, 0.5, 1.0])),
    min_size=1,
    max_size=14,
)
law = settings(max_examples=100, derandomize=True, deadline=None)


def split(found: list[tuple[float, ...]], objectives: int) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(found, float)
    return table[:, :objectives], table[:, -1]


@law
@given(found=rows, objectives=st.integers(1, 3))
def test_none_of_a_front_beats_another_and_every_later_one_is_beaten_by_the_front_before(found, objectives):
    values, excess = split(found, objectives)
    beaten, front = beats(values, excess), fronts(values, excess)
    assert set(front) == set(range(front.max() + 1))
    for one in range(len(front)):
        same = front == front[one]
        assert not beaten[same][:, one].any()
        if front[one]:
            assert beaten[front == front[one] - 1][:, one].any()


@law
@given(found=rows, objectives=st.integers(1, 3))
def test_what_keeps_the_constraints_is_in_a_better_front_than_what_does_not(found, objectives):
    values, excess = split(found, objectives)
    front = fronts(values, excess)
    if (excess == 0).any() and (excess > 0).any():
        assert front[excess == 0].max() < front[excess > 0].min()
        far = int(np.argmax(excess))
        assert ahead(values, excess, far) >= (excess == 0).sum()


def test_the_fronts_of_many_trials_are_found_by_counting():
    rng = np.random.default_rng(0)
    values = rng.random((1500, 2))
    front = fronts(values, np.zeros(1500))
    first = values[front == 0][np.argsort(values[front == 0][:, 0])]
    assert (np.diff(first[:, 1]) < 0).all()
