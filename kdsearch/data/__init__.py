"""Data: datasets by name, and the split that keeps the test part for the finals."""

from kdsearch.data.splits import Dataset, Splits, find, load

__all__ = ["Dataset", "Splits", "find", "load"]
