"""The model card: what a student is, how it came about, and what may be said of it."""

from kdsearch.export.student import Student
from kdsearch.objectives import from_spec
from kdsearch.reporting.leaderboard import leaderboard, settings_of
from kdsearch.reporting.selection import selection


def card(student: Student) -> str:
    """As Markdown."""
    record, final = student.record, student.final
    header, study = record.header, record.header["study"]
    (row,) = (row for row in leaderboard(record) if row.name == final.row)
    teacher = study["teacher"].get("model") or study["teacher"]
    known = record.facts.get("teacher_test_accuracy")
    taught = f", {100 * known:.2f} % on test" if known is not None else ""
    spread = f" (95 % interval {row.mean_low:.2f} to {row.mean_high:.2f})" if row.mean_low else ""
    shape = ", ".join(map(str, student.shape))
    kind = "token ids, int64" if student.module.tokens else "float32"
    values = ", pixels of 0 to 255" if len(student.shape) == 3 else ""
    recipe = ", ".join(f"{key} {value}" for key, value in final.experiment["recipe"].items())
    return f"""# {final.experiment["model"]["name"]}, taught by {teacher.get("name", "its teacher")}

{study["question"] or study["name"]}

| | |
|---|---|
| test accuracy of this student | {100 * final.accuracy:.2f} % (seed {final.experiment["seed"]}) |
| of its setting | {row.mean:.2f} % over {row.n} seeds{spread} |
| objective | {final.family}: {settings_of(final.experiment)} |
| as a formula | `{from_spec(final.experiment["objective"]).formula}` |
| where the setting is from | {final.origin} |
| teacher | {teacher.get("name", "logits from elsewhere")}{taught} |
| data | {study["data"]["name"]}, digest {header["data"]} |
| protocol | {row.protocol} |
| recipe | {recipe} |
| search | {header["name"]}, study digest {header["digest"]} |
| made with | kdsearch {header["environment"].get("kdsearch", "")}, torch \
{header["environment"].get("torch", "")} |

{" ".join(selection(record))}

Inputs: (N, {shape}), {kind}{values}. The normalisation is part of the model. Outputs: logits
(N, {header["sizes"]["classes"]}).

```python
import torch

student = torch.export.load("student.pt2").module()
logits = student(inputs)
```

`student.pt` is the bare state dictionary of the network, which takes normalised inputs.
"""
