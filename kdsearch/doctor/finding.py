"""A finding: what one check saw, a word for it, and what to do about it."""

from typing import Literal, NamedTuple

Word = Literal["ok", "look", "wrong"]


class Finding(NamedTuple):
    """One line of the doctor's: `ok`, `look` (it may be meant so) or `wrong` (a search suffers).

    remedy: a sentence, empty where nothing is to be done or `said` ends with it already.
    check: the name of the check, put there by who calls it.
    """

    word: Word
    said: str
    remedy: str = ""
    check: str = ""

    def lines(self) -> list[str]:
        """As text, the remedy on a line of its own."""
        first, *more = self.said.splitlines()
        said = [f"{self.word:5}  {self.check:14}  {first}", *(f"{'':23}{line}" for line in more)]
        return [*said, *([f"{'':23}-> {self.remedy}"] if self.remedy else [])]


def ok(said: str) -> Finding:
    """All is well."""
    return Finding("ok", said)


def look(said: str, remedy: str) -> Finding:
    """Worth a look: it may be meant so."""
    return Finding("look", said, remedy)


def wrong(said: str, remedy: str = "") -> Finding:
    """A search would fail, or say what is not so."""
    return Finding("wrong", said, remedy)
