"""Search: decides which trials to run and when to stop them; never touches a tensor."""

from hpo.events import (
    Event,
    Listener,
    Noticed,
    StudyFinished,
    StudyStarted,
    Suggestion,
    TrialFinished,
    TrialReported,
    TrialScored,
    TrialStarted,
    TrialStopped,
)
from hpo.history import History
from hpo.objective import Objective
from hpo.space import Choice, Float, Int, Space
from hpo.store import Journal, Memory, Store
from hpo.study import search_over as search

__all__ = [
    "Choice",
    "Event",
    "Float",
    "History",
    "Int",
    "Journal",
    "Listener",
    "Memory",
    "Noticed",
    "Objective",
    "Space",
    "Store",
    "StudyFinished",
    "StudyStarted",
    "Suggestion",
    "TrialFinished",
    "TrialReported",
    "TrialScored",
    "TrialStarted",
    "TrialStopped",
    "search",
]
