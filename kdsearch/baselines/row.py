"""One published figure, with whatever a reader must know before comparing with it.

    76.06 +- 0.27 (n=5)   WTTM, resnet32x4 -> resnet8x4, Table 1 of zheng2024ttm: its own run
    76.32                 DKD, same pair, same table: quoted from DKD, best test epoch

The second looks better and is not the same quantity, so `marks()` goes wherever a row is shown.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kdsearch.baselines.names import normalise
from kdsearch.values import Value


def _blank_is_none(value: Any) -> Any:
    """A CSV file has no other way to say that nothing is known."""
    return None if value == "" else value


Spread = Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_blank_is_none)]
Count = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_blank_is_none)]
Text = Annotated[str, Field(min_length=1)]


class _Stored(Value):
    """A line of a table; its names are spelt in the one way, so that queries find them."""

    dataset: Text
    teacher: str
    student: Text

    @model_validator(mode="after")
    def _spelt_the_one_way(self) -> "_Stored":
        for field in ("dataset", "teacher", "student"):
            name = getattr(self, field)
            if name != normalise(name):
                raise ValueError(f"{field} must be spelt {normalise(name)!r}, but got {name!r}")
        return self


class Row(_Stored):
    """A published top-1 accuracy.

    paper: the file's name; where the figure was read, which need not be where it was measured.
    subset: the part of the training data, `zeta=0.1` (samples kept per class) or `delta=0.5`
        (classes kept); empty for all of it.
    teacher: empty for a network trained on the labels alone.
    objective: kdsearch's name of the method; empty where kdsearch has no such objective.
    top1, std: percent.
    n: runs behind the figure; None where it is not said.
    epochs: from the official code's recipe where the paper is silent.
    quoted: where the paper copied the figure from; empty for its own run.
    note: further caveats, shown as they are.
    """

    paper: Text
    table: Text
    subset: Annotated[str, Field(pattern=r"^((zeta|delta)=0\.[1-9])?$")] = ""
    teacher_as_printed: str
    student_as_printed: Text
    method: Text
    objective: str = ""
    split: Literal["test", "val"]
    top1: Annotated[float, Field(ge=0, le=100)]
    std: Spread = None
    n: Count = None
    selection: Literal["mean", "best of 3 runs"]
    epoch: Literal["last", "best_test", "unknown"]
    epochs: Count = None
    source: Text
    quoted: str = ""
    note: str = ""

    def marks(self) -> tuple[str, ...]:
        """What must be said wherever the row is shown; empty for the paper's own mean."""
        said = (
            (bool(self.quoted), f"quoted from {self.quoted}"),
            (self.selection == "best of 3 runs", "best of 3 runs, not a mean"),
            (self.epoch == "best_test", "best test epoch"),
            (bool(self.note), self.note),
        )
        return tuple(mark for holds, mark in said if holds)


class Setting(_Stored):
    """The settings that a paper published for one objective and one pair of networks."""

    objective: Text
    temperature: Annotated[float, Field(gt=0)]
    beta: Annotated[float, Field(gt=0)]
    source: Text
