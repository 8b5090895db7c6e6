"""What the objective tests share: a fixed random batch, a student's gradient, a comparison."""

import torch

from tests.objectives import reference


def tensors(seed=0, dtype=torch.float64, **shape):
    """`reference.batch` as tensors: student logits, teacher logits, labels."""
    student, teacher, labels = map(torch.from_numpy, reference.batch(seed, **shape))
    return student.to(dtype), teacher.to(dtype), labels


def gradient(loss, student):
    """The gradient of `loss(student)`, summed where it is one number per example."""
    student = student.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(student).sum(), student)[0]


def close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
