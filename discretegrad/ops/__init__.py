"""The mathematics, one folder an operation: plain tensors in, plain tensors out, noise passed in, no autograd."""

from discretegrad.ops.dispatch import using

__all__ = ["using"]
