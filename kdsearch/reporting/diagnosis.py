"""The diagnosis: what a record of `kdsearch diagnose` says, in figures, sentences and plots."""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from kdsearch.files import write_atomically
from kdsearch.reporting.compare import Difference, paired, spread
from kdsearch.tracking import Record

MEANING = {
    "ce": "labels alone",
    "label_smoothing": "regularisation",
    "kd_sim": "class relationships",
    "kd_pt": "weights of examples",
    "kd": "all three together",
}
EVEN, STEADY, SURE, GAP, OVER = 0.9, 0.02, 0.99, 0.05, 0.05
"""From where a warning is given; each is explained beside its sentence in `warnings`."""

HEADINGS = ("objective", "what it hands on", "validation %", "std", "n", "vs ce", "95 % interval")


@dataclass(frozen=True)
class Level:
    """One objective over paired seeds on validation, in percent; the difference is to `ce`."""

    name: str
    mean: float
    std: float
    n: int
    difference: Difference | None

    @property
    def helps(self) -> bool:
        """Whether the whole interval of its difference lies above zero."""
        return self.difference is not None and (self.difference.low or 0.0) > 0

    def cells(self) -> tuple[str, ...]:
        """As text, in the order of the headings."""
        gain = self.difference
        interval = f"{gain.low:+.2f} to {gain.high:+.2f}" if gain and gain.low is not None else ""
        return (
            self.name,
            MEANING[self.name],
            f"{self.mean:.2f}",
            f"{self.std:.2f}",
            str(self.n),
            f"{gain.mean:+.2f}" if gain else "",
            interval,
        )


def levels(record: Record) -> list[Level]:
    """The levels that finished, in the order of `MEANING`."""
    by_seed: dict[str, dict[int, float]] = {name: {} for name in MEANING}
    for trial in record.of_kind("level"):
        if trial.status == "finished":
            by_seed[trial.family][trial.experiment["seed"]] = 100 * trial.accuracy
    plain = by_seed["ce"]
    return [_level(name, accuracy, plain) for name, accuracy in by_seed.items() if accuracy]


def _level(name: str, accuracy: dict[int, float], plain: dict[int, float]) -> Level:
    shared = [seed for seed in accuracy if seed in plain and name != "ce"]
    ours, theirs = [accuracy[seed] for seed in shared], [plain[seed] for seed in shared]
    return Level(
        name=name,
        mean=mean(accuracy.values()),
        std=spread(list(accuracy.values())),
        n=len(accuracy),
        difference=paired(ours, theirs) if shared else None,
    )


def lines(record: Record) -> list[str]:
    """The teacher and the watched student in sentences."""
    found = []
    for name in ("train", "validation"):
        seen = record.facts[name]
        found.append(
            f"Teacher on {name}: {seen['accuracy']:.2%} right, {seen['confidence']:.2%} sure,"
            f" calibration error {seen['calibration_error']:.2%}; entropy {seen['entropy']:.3f}"
            f" nats; wrong classes {seen['evenness']:.0%} even; at temperature"
            f" {seen['temperature']:g} its probability of the label spreads by"
            f" {seen['spread']:.3f} over examples."
        )
    for look in record.facts["watched"]:
        found.append(
            f"kd student after epoch {look['epoch']}: {look['accuracy']:.2%} right on train, agrees"
            f" with the teacher on {look['agreement']:.2%}; {_weights(look)}."
        )
    return found


def _weights(look: dict[str, Any]) -> str:
    if look["quartiles"] is None:
        return "sure of every label, so no example has a gradient weight"
    low, middle, high = look["quartiles"]
    of = look["correlation"]
    correlation = (
        "" if of is None else f", rank correlation with the teacher's confidence {of:+.2f}"
    )
    return (
        f"gradient weight w_k {middle:.2f} ({low:.2f} to {high:.2f} for the middle half) over the"
        f" {look['unsure']:.0%} of which it is not yet sure{correlation}"
    )


def warnings(record: Record) -> list[str]:
    """The failure cases of Tang et al. 2020 (arXiv 2002.03532) that this pair shows, and others."""
    train, validation = record.facts["train"], record.facts["validation"]
    by_name = {level.name: level for level in levels(record)}
    last = record.facts["watched"][-1]
    found = []
    smoothed = record.header["study"]["teacher"]["objective"].get("name") == "label_smoothing"
    if smoothed or train["evenness"] > EVEN:
        found.append(
            ("The teacher was trained with label smoothing" if smoothed else "The teacher looks as")
            + ("" if smoothed else " if it had been trained with label smoothing")
            + f": its wrong classes are {train['evenness']:.0%} even, so it says little of which"
            " classes are alike. Train it without smoothing, or expect no more than kd_pt brings."
        )
    if train["spread"] < STEADY:
        sure = "over-confident" if train["confidence"] > SURE else "equally sure of all examples"
        found.append(
            f"The teacher is {sure}: at temperature {train['temperature']:g} its probability of the"
            f" label varies by only {train['spread']:.3f} over training examples, so it gives all"
            " the same weight. Raise the temperature, or train it shorter or with more"
            " augmentation."
        )
    if validation["confidence"] - validation["accuracy"] > OVER:
        found.append(
            f"The teacher is {validation['confidence']:.1%} sure on validation and"
            f" {validation['accuracy']:.1%} right: its mistakes are taught with confidence. Search"
            " over higher temperatures, or use an objective that keeps a label term."
        )
    behind = train["accuracy"] - last["agreement"]
    if behind > GAP and not ("kd" in by_name and by_name["kd"].helps):
        found.append(
            f"Capacity gap: the student follows the teacher on only {last['agreement']:.1%} of the"
            f" training images, of which the teacher has {train['accuracy']:.1%} right, and kd is"
            " not shown to help. Try a smaller teacher, a chain (`teacher: {teacher: ...}`), a"
            " larger student or more epochs."
        )
    helping = [level.name for level in by_name.values() if level.helps]
    if not helping:
        most = max((level.n for level in by_name.values()), default=0)
        found.append(
            f"No level is shown to bring anything over ce: with n = {most} every interval reaches"
            " zero. More seeds (`final: {seeds: ...}`) would narrow them."
        )
    return found


def answer(record: Record) -> str:
    """Which levels are shown to help, in a sentence."""
    helping = [level for level in levels(record) if level.helps and level.difference]
    if not helping:
        return "Nothing that this teacher hands on is shown to help this student."
    told = ", ".join(
        f"{level.name} ({MEANING[level.name]}) {level.difference.mean:+.2f}"
        for level in helping
        if level.difference
    )
    return f"Shown to help this student, in points over ce on validation: {told}."


def as_markdown(record: Record) -> str:
    """The whole diagnosis as a Markdown page."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(each.cells() for each in levels(record))]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    warned = "\n".join(f"- {warning}" for warning in warnings(record)) or "None."
    told = "\n\n".join(lines(record))
    return (
        f"# Diagnosis of {record.header['study']['name']}\n\n{answer(record)}\n\n{table}\n\n"
        f"{told}\n\n## Warnings\n\n{warned}\n"
    )


def write(record: Record, folder: Path) -> list[Path]:
    """Write diagnosis.md and its plots into a folder; returns their paths."""
    from kdsearch.reporting import plots  # matplotlib takes a second to import

    page = folder / "diagnosis.md"
    write_atomically(page, as_markdown(record).encode())
    return [page, *plots.diagnosis(record, levels(record), folder)]


def summary(record: Record) -> dict[str, float]:
    """Its figures by name, for a tracking server."""
    found: dict[str, Any] = {}
    for name in ("train", "validation"):
        seen = record.facts[name]
        for key in ("accuracy", "confidence", "calibration_error", "entropy", "evenness", "spread"):
            found[f"teacher_{name}_{key}"] = seen[key]
    for level in levels(record):
        if level.difference:
            found[f"gain_{level.name}"] = level.difference.mean
    return found
