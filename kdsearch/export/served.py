"""The code of a student in MLflow's registry: torch and numpy are all that it needs.

MLflow keeps a copy of this file with the model and runs it where the model is loaded, so nothing of
kdsearch may be imported here.
"""

from typing import Any

import mlflow
import numpy as np
import torch


class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Inputs as they are in the data, (N, ...), to logits (N, classes)."""

    def load_context(self, context: Any) -> None:
        """Load the exported program."""
        self._student = torch.export.load(context.artifacts["student"]).module()

    # Without types: MLflow would hold inputs against them.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """The logits of a batch."""
        with torch.no_grad():
            return self._student(torch.from_numpy(np.asarray(model_input))).numpy()


mlflow.models.set_model(Served())
