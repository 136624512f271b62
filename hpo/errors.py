"""What a caller may want to catch.

HpoError
├── UsageError            the user has to change something; the command line exits with 2
│   ├── StudyExists       a study of this name is already there
│   ├── StudyNotFound     no such study
│   └── MissingDependency an optional package is needed and not installed
├── JournalError          the journal cannot be read: damaged line, newer format
└── RunnerError           where trials execute is broken as a whole (a trial that raises is an event)
"""


class HpoError(Exception):
    """Base of everything this package raises on purpose."""


class UsageError(HpoError, ValueError):
    """Wrong use. The message names the place, the value and what would be right."""


class StudyExists(UsageError):
    """A study of this name is already there."""


class StudyNotFound(UsageError):
    """No study of this name."""


class MissingDependency(UsageError):
    """An optional package is needed and not installed."""


class JournalError(HpoError):
    """A journal that cannot be read as written. The message names the file and the line."""


class RunnerError(HpoError):
    """The place where trials execute is broken as a whole."""
