"""`hpo best --horizon`, as a user types it."""

import json


def test_the_winner_of_a_longer_run_or_what_is_missing(command, sample) -> None:
    words = ("--trials", 8, "--steps", 40, "--pruner", "never", "--tracking", "none", "--name", "mine")
    assert command("search", sample("curve"), *words).code == 0
    said = command("best", "mine", "--horizon", 80)
    assert said.code == 0, said.err
    assert said.out.startswith("after 80 steps trial ")
    found = json.loads(command("best", "mine", "--horizon", 80, "--json").out)
    assert (
        f"after 80 steps trial {found['trial']} is predicted to be the best of 8, with a chance of"
        in said.out
    )
    assert found["low"] < found["mean"] < found["high"]
    said = command("best", "mine", "--horizon", 161)
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines() == [
        "hpo: --horizon 161 is more than 4 times the longest run, of 40 steps: at most 160 can be predicted"
    ]
    assert command("best", "mine", "--horizon", 0).code == 2
