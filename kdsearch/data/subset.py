"""Subsets: the first classes, and so many images of each, for studies that must be small.

The images of a class are drawn by seed. Fewer are a part of more, and leaving classes out changes
nothing in those that stay.
"""

import numpy as np
import numpy.typing as npt

from kdsearch.errors import SettingError

Rows = npt.NDArray[np.int64]


def kept(
    labels: Rows,
    test: npt.NDArray[np.bool_],
    classes: int | None = None,
    per_class: int | None = None,
    test_per_class: int | None = None,
    seed: int = 0,
) -> Rows:
    """The rows to keep, sorted.

    Args:
        labels: (N,), every class from 0 on.
        test: (N,), the rows of the test part.
        classes: keep the first so many; None keeps all.
        per_class: keep at most so many images of each class outside the test part.
        test_per_class: keep at most so many of each class in the test part.
        seed: decides which.
    """
    there = int(labels.max()) + 1
    if classes is not None and not 2 <= classes <= there:
        raise SettingError(f"classes must be from 2 to {there}, all there are, but got {classes}.")
    chosen = np.zeros(len(labels), dtype=bool)
    for part, most in ((~test, per_class), (test, test_per_class)):
        random = np.random.default_rng(seed)
        for label in range(classes or there):
            rows = np.flatnonzero(part & (labels == label))
            chosen[random.permutation(rows)[:most]] = True
    return np.flatnonzero(chosen)
