"""Teachers: trained once, run once, and kept as weights and as signals."""

from kdsearch.teachers.teacher import Teacher

__all__ = ["Teacher"]
