"""CIFAR-100: 60,000 photographs of 32x32 in 100 classes, 10,000 of them for testing.

Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". `root` holds the folder
`cifar-100-python` of the Python version; `download: true` fetches it if it is missing.
"""

from kdsearch.data import official
from kdsearch.data.splits import Dataset

_FOLDER = "cifar-100-python"


def load(root: str = "./data", download: bool = False) -> Dataset:
    return official.load("CIFAR100", root, _FOLDER, 100, download)


def find(root: str = "./data", download: bool = False) -> None:
    official.find(root, _FOLDER, download)
