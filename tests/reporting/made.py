"""A record made by hand, event by event."""

from typing import Any

from kdsearch.tracking import Record


def experiment(objective: dict[str, Any], seed: int = 0, rate: float = 0.05) -> dict[str, Any]:
    return {"objective": objective, "recipe": {"learning_rate": rate}, "seed": seed}


class Made:
    """A record built event by event; epoch `k` takes 2 seconds."""

    def __init__(self) -> None:
        self.record = Record()
        study = {"name": "made", "question": "Q?", "recipe": {"epochs": 3}, "search": {"seed": 0},
                 "data": {"name": "digits"}}  # fmt: skip
        sizes = {"train": 900, "validation": 400, "test": 450, "classes": 10}
        self.add("search", study=study, name="made-1", slots=2, digest="d", data="0123456789abcdef",
                 sizes=sizes, environment={})  # fmt: skip

    def add(self, event: str, time: float = 0.0, **content: Any) -> None:
        self.record.add({"event": event, "time": time, **content})

    def training(self, id: str, row: str, curve: list[float], status: str = "finished",
                 seed: int = 0, origin: str = "published",
                 objective: dict[str, Any] | None = None, rate: float = 0.05) -> None:  # fmt: skip
        family = row.split()[0]
        kind = {"f": "final", "c": "control"}.get(id[0], "trial")
        self.add("trial", id=id, kind=kind, family=family, origin=origin, row=row,
                 experiment=experiment(objective or {"name": family}, seed, rate))  # fmt: skip
        for number, accuracy in enumerate(curve, start=1):
            self.add("epoch", id=id, epoch=number, accuracy=accuracy, loss=1.0, train_loss=1.0,
                     seconds=2.0)  # fmt: skip
        self.add("end", id=id, status=status)
