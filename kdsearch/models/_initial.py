"""Initial weights that several families share."""

from torch import nn


def he(model: nn.Module) -> nn.Module:
    """The same model, its convolutions drawn from N(0, 2 / fan_out), their biases zero.

    He et al., arXiv 1502.01852. The fan-out of a depthwise convolution counts all its channels, as
    the networks of the CIFAR-100 benchmark do. Batch normalisation begins as torch has it: 1 and 0.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def small_linear(inputs: int, classes: int) -> nn.Linear:
    """A last layer of weights drawn from N(0, 0.01^2) and biases of zero."""
    layer = nn.Linear(inputs, classes)
    nn.init.normal_(layer.weight, 0, 0.01)
    nn.init.zeros_(layer.bias)
    return layer
