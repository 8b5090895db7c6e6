"""Fashion-MNIST: 70,000 grey pictures of clothes, 28x28, in 10 classes, 10,000 of them for testing.

Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms". `root` holds the folder `FashionMNIST/raw`, as torchvision keeps it;
`download: true` fetches it if it is missing.
"""

from kdsearch.data import official
from kdsearch.data.splits import Dataset

_FOLDER = "FashionMNIST/raw"


def load(root: str = "./data", download: bool = False) -> Dataset:
    return official.load("FashionMNIST", root, _FOLDER, 10, download)


def find(root: str = "./data", download: bool = False) -> None:
    official.find(root, _FOLDER, download)
