"""How kdsearch fails: one small tree, each message stating the law, what came, and what to do.

KdsearchError
├── NameNotFound       a name that no plug-in folder holds
├── NameTwice          a name that two plug-in files claim
├── SettingError       a setting that does not exist, or has an impossible value
├── DataError          a dataset's files are missing, damaged or wrongly labelled
├── ShapeError         tensors that do not fit together
├── StudyError         every mistake of one study file, reported together
├── ClusterError       every mistake of one cluster file, reported together
├── ResourceError      the cluster cannot run what the study asks for
├── StoreError         a stored file is damaged, foreign or missing, or cannot be written
├── SearchError        a search cannot be started, continued or read
└── Interrupted        a search was stopped from outside; what is done is kept
"""

from collections.abc import Iterable
from typing import NamedTuple


class KdsearchError(Exception):
    """Base of every error that kdsearch raises on purpose; the terminal prints it as a sentence."""


class NameNotFound(KdsearchError):
    """A name that no plug-in folder holds."""


class NameTwice(KdsearchError):
    """A name that two plug-in files claim."""


class SettingError(KdsearchError, ValueError):
    """A setting that does not exist, or a value that it cannot have."""


class DataError(KdsearchError):
    """A dataset's files are missing, damaged, wrongly labelled, or larger than memory."""


class ShapeError(KdsearchError, ValueError):
    """Tensors whose shapes or types do not fit together."""


class Problem(NamedTuple):
    """One mistake: where it is (a dotted path), and a sentence with law, value and remedy."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Mistakes(KdsearchError):
    """All mistakes of one file, in its order."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = [f"{source} has {count} mistake{'s' if count != 1 else ''}:"]
        lines += [f"  {problem}" for problem in self.problems]
        super().__init__("\n".join(lines))


class StudyError(Mistakes):
    """All mistakes of one study."""


class ClusterError(Mistakes):
    """All mistakes of one cluster file, its fit to a study among them."""


class ResourceError(KdsearchError):
    """The cluster cannot run what the study asks for."""


class StoreError(KdsearchError):
    """A stored file is damaged, belongs to something else, is missing, or cannot be written."""


class SearchError(KdsearchError):
    """A search cannot be started, continued or read."""


class Interrupted(KdsearchError):
    """A search was stopped from outside; what is done is kept."""
