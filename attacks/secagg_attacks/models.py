"""Small fixed networks to attack, the same for the same seed on every machine.

The LeNets are those of "Deep leakage from gradients" (Zhu et al. 2019, section 4.1; no pooling, strides
instead), with sigmoid or tanh: L-BFGS needs a second derivative, and with ReLU, whose second derivative is
zero, it stalls near 10 dB. The convolutional network with ReLU is for first-order attacks (Geiping et al.
2020). Weights are drawn from a generator of their own; PyTorch's global one is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import torch
from torch import nn

from secagg_attacks.inversion.errors import InversionError

__all__ = ["linear", "mlp", "relu_convnet", "sigmoid_lenet", "tanh_lenet"]

_SIGMOID_GAIN: Final = 3.0
_LENET_CHANNELS: Final = 12
_LENET_STRIDES: Final = (2, 2, 1)
_LENET_KERNEL: Final = 5
_CONVNET_KERNEL: Final = 3


def linear(inputs: int, classes: int, seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Softmax regression over flattened inputs: (n, ...) of `inputs` numbers each -> (n, classes)."""
    return mlp((inputs, classes), seed, dtype)


def mlp(widths: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A multilayer perceptron with ReLU. widths: of its inputs, its hidden layers and its classes.

    Raises InversionError `model-widths`.
    """
    if len(widths) < 2:
        raise InversionError("model-widths", f"widths {widths}", "inputs and classes, at least: (64, 10)")

    def build() -> nn.Sequential:
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    return _drawn(build, seed, 1, dtype)


def sigmoid_lenet(
    channels: int, side: int, classes: int, seed: int, dtype: torch.dtype = torch.float64
) -> nn.Module:
    """Three convolutions of 12 channels with sigmoids, and a linear layer.

    (n, channels, side, side) -> (n, classes). Numbers within 3 / sqrt(fan-in), for a sigmoid's slope is a
    quarter at most. Within Zhu et al.'s 0.5, units saturate, and L-BFGS needs over 2 000 iterations for what
    600 do here (32x32, MSE 1e-4).
    """
    return _drawn(lambda: _lenet(nn.Sigmoid, channels, side, classes), seed, _SIGMOID_GAIN, dtype)


def tanh_lenet(
    channels: int, side: int, classes: int, seed: int, dtype: torch.dtype = torch.float64
) -> nn.Module:
    """The same with tanh, and numbers within 1 / sqrt(fan-in): within 0.5, it saturates at 32x32."""
    return _drawn(lambda: _lenet(nn.Tanh, channels, side, classes), seed, 1, dtype)


def relu_convnet(
    channels: int, side: int, classes: int, seed: int, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Three 3x3 convolutions of 16, 32 and 64 channels with ReLU, strides 1, 1 and 2, and a linear layer.

    (n, channels, side, side) -> (n, classes). Numbers within 1 / sqrt(fan-in), as PyTorch draws them.
    """
    return _drawn(lambda: _relu_convnet(channels, side, classes), seed, 1, dtype)


def _relu_convnet(channels: int, side: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before, width = channels, side
    for after, stride in ((16, 1), (32, 1), (64, 2)):
        layers += [nn.Conv2d(before, after, _CONVNET_KERNEL, stride, _CONVNET_KERNEL // 2), nn.ReLU()]
        before, width = after, -(-width // stride)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * width * width, classes))


def _lenet(activation: type[nn.Module], channels: int, side: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before, width = channels, side
    for stride in _LENET_STRIDES:
        layers += [
            nn.Conv2d(before, _LENET_CHANNELS, _LENET_KERNEL, stride, _LENET_KERNEL // 2),
            activation(),
        ]
        before, width = _LENET_CHANNELS, -(-width // stride)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * width * width, classes))


def _drawn(build: Callable[[], nn.Sequential], seed: int, gain: float, dtype: torch.dtype) -> nn.Module:
    """All numbers anew, uniformly within gain / sqrt(fan-in) of their layer; drawn in float64, so that one
    seed is one network in every dtype."""
    generator = torch.Generator().manual_seed(seed)
    # PyTorch draws numbers when it builds a layer, from its global generator.
    with torch.random.fork_rng(devices=[]):
        model = build().to(torch.float64)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                within = gain * float(layer.weight[0].numel()) ** -0.5
                layer.weight.uniform_(-within, within, generator=generator)
                if layer.bias is not None:
                    layer.bias.uniform_(-within, within, generator=generator)
    return model.to(dtype)
