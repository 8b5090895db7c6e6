"""Handwritten digits: 1,797 real 8x8 images in 10 classes, bundled with scikit-learn.

Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits" (UCI). The set comes without
an official test part: `test` is the stratified share kept for the finals, always the same images.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from kdsearch.data.splits import Dataset, stratified


def load(test: Annotated[float, Field(gt=0, lt=1)] = 0.25) -> Dataset:
    from sklearn.datasets import load_digits  # takes a second, and listing datasets needs no data

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    return Dataset(
        images=bunch.images.astype(np.uint8)[:, None],
        labels=labels,
        classes=10,
        test=stratified(labels, test, seed=0),
    )
