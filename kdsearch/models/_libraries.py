"""What the families that come from other libraries share."""

import difflib
from collections.abc import Iterable


def must_have(library: str, what: str, name: object, names: Iterable[str]) -> None:
    """Refuse a name that a library does not have, and say which are near."""
    if name not in (known := list(names)):
        near = ", ".join(difflib.get_close_matches(str(name), known, n=3))
        hint = f" (near: {near})" if near else ""
        raise ValueError(f"{what} must be a name that {library} has, but got {name!r}{hint}")
