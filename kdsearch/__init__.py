"""kdsearch finds the best distillation objective for a teacher, a student and a dataset."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsearch.objectives import objective as objective

__version__ = "0.1.0"
__all__ = ["objective"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `import kdsearch` must not cost the seconds that torch takes.
    if name in __all__:
        return getattr(import_module("kdsearch.objectives"), name)
    raise AttributeError(f"module 'kdsearch' has no attribute {name!r}")
