"""Export: a finished student as files that need kdsearch no more.

student = Student.of(folder, row="ttm (found)", seed=None)
paths = formats.write(student, Path("student"), onnx=True)
"""

from kdsearch.export.student import Standalone, Student

__all__ = ["Standalone", "Student"]
