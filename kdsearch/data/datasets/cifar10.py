"""CIFAR-10: 60,000 photographs of 32x32 in 10 classes, 10,000 of them for testing.

Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". `root` holds the folder
`cifar-10-batches-py` of the Python version; `download: true` fetches it if it is missing.
"""

from kdsearch.data import official
from kdsearch.data.splits import Dataset

_FOLDER = "cifar-10-batches-py"


def load(root: str = "./data", download: bool = False) -> Dataset:
    return official.load("CIFAR10", root, _FOLDER, 10, download)


def find(root: str = "./data", download: bool = False) -> None:
    official.find(root, _FOLDER, download)
