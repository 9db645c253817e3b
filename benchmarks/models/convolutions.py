"""Convolutions: a small classic, and residual blocks.

Images are (rows, height, width, channels) and windows (height, width, in, out); PyTorch gets
(rows, channels, height, width), laid out as it likes best.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from benchmarks.models.model import Array, Loss, Model, dense, dense_flops, stacked
from benchmarks.models.perceptrons import mnist_images

# ---- two convolutions, three dense layers


def lenet(dtype: str, count: int = 4, rows: int = 64) -> Model:
    """Digits of MNIST, 28 x 28, by a network like LeNet-5 [LeCun et al. 1998], with relu."""
    x, y = stacked(count, rows, *mnist_images(dtype))
    rng = np.random.default_rng(0)
    sizes = (400, 120, 84, 10)
    params = {
        "windows": [_window(rng, 5, a, b, dtype) for a, b in ((1, 6), (6, 16))],
        "biases": [np.zeros(n, dtype) for n in (6, 16)],
        "dense": dense(sizes, dtype),
    }
    first, second = (2.0 * rows * side**2 * 25 * pair for side, pair in ((28, 6), (10, 96)))
    return Model(
        "lenet",
        f"LeNet: 28 x 28, 6 and 16 windows of 5 x 5, {'-'.join(map(str, sizes))}, batch {rows}",
        params,
        (x.reshape(count, rows, 28, 28, 1), y),
        _lenet_loss,
        _torch_lenet_loss,
        flops=2 * first + 3 * second + dense_flops(sizes, rows) + 2.0 * rows * 400 * 120,
        to_torch=_torch_params,
    )


def _lenet_loss(words) -> Loss:
    def loss(params, x, y):
        for i, padding in enumerate(("same", "valid")):
            x = words.conv2d(x, params["windows"][i], 1, padding) + params["biases"][i]
            x = words.max_pool(words.relu(x), 2)
        x = x.reshape(x.shape[0], -1)
        for layer in params["dense"][:-1]:
            x = words.relu(x @ layer["w"] + layer["b"])
        last = params["dense"][-1]
        return words.cross_entropy(x @ last["w"] + last["b"], y).mean()

    return loss


def _torch_lenet_loss(torch) -> Loss:
    functional = torch.nn.functional

    def loss(params, x, y):
        x = x.permute(0, 3, 1, 2)
        for i, padding in enumerate((2, 0)):
            x = functional.conv2d(x, params["windows"][i], params["biases"][i], padding=padding)
            x = functional.max_pool2d(torch.relu(x), 2)
        x = x.permute(0, 2, 3, 1).reshape(len(x), -1)  # features in the order of the others
        for layer in params["dense"][:-1]:
            x = torch.relu(torch.addmm(layer["b"], x, layer["w"]))
        last = params["dense"][-1]
        return functional.cross_entropy(torch.addmm(last["b"], x, last["w"]), y)

    return loss


# ---- residual blocks


def residual(dtype: str, count: int = 2, rows: int = 16) -> Model:
    """Three residual blocks [He et al. 2015] on random images, 32 x 32, normalised by batch."""
    rng = np.random.default_rng(0)
    widths = (16, 16, 32, 64)
    params = {
        "stem": _window(rng, 3, 3, widths[0], dtype),
        "blocks": [_block(rng, a, b, dtype) for a, b in pairwise(widths)],
        "out": (rng.normal(size=(widths[-1], 10)) / 8).astype(dtype),
    }
    x = rng.normal(size=(count, rows, 32, 32, 3)).astype(dtype)
    y = rng.integers(0, 10, (count, rows))
    stem = 2.0 * rows * 32**2 * 27 * widths[0]
    sides = (32, 16, 8)
    blocks = sum(
        2.0 * rows * s * s * (9 * a * b + 9 * b * b + (a * b if a != b else 0))
        for s, a, b in zip(sides, widths[:-1], widths[1:], strict=True)
    )
    return Model(
        "residual",
        f"residual network: 32 x 32, three blocks of {widths[1:]}, batch {rows}",
        params,
        (x, y),
        _residual_loss,
        _torch_residual_loss,
        flops=2 * stem + 3 * blocks,
        to_torch=_torch_params,
    )


def _block(rng, inputs: int, outputs: int, dtype: str) -> dict[str, Array]:
    block = {
        "first": _window(rng, 3, inputs, outputs, dtype),
        "second": _window(rng, 3, outputs, outputs, dtype),
    }
    for name in ("first", "second"):
        block[f"scale_{name}"] = np.ones(outputs, dtype)
        block[f"shift_{name}"] = np.zeros(outputs, dtype)
    if inputs != outputs:
        block["past"] = _window(rng, 1, inputs, outputs, dtype)
    return block


def _residual_loss(words) -> Loss:
    def normal(x, scale, shift):
        deviation = x - x.mean((0, 1, 2))
        variance = (deviation * deviation).mean((0, 1, 2))
        return deviation / words.numpy.sqrt(variance + 1e-5) * scale + shift

    def apply(block, x):
        stride = 2 if "past" in block else 1
        h = words.conv2d(x, block["first"], stride, ((1, 1), (1, 1)))
        h = words.relu(normal(h, block["scale_first"], block["shift_first"]))
        h = words.conv2d(h, block["second"], 1, ((1, 1), (1, 1)))
        h = normal(h, block["scale_second"], block["shift_second"])
        past = words.conv2d(x, block["past"], 2, "valid") if "past" in block else x
        return words.relu(h + past)

    def loss(params, x, y):
        h = words.relu(words.conv2d(x, params["stem"], 1, ((1, 1), (1, 1))))
        for block in params["blocks"]:
            h = apply(block, h)
        return words.cross_entropy(h.mean((1, 2)) @ params["out"], y).mean()

    return loss


def _torch_residual_loss(torch) -> Loss:
    functional = torch.nn.functional

    def normal(x, scale, shift):
        return functional.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)

    def apply(block, x):
        stride = 2 if "past" in block else 1
        h = functional.conv2d(x, block["first"], stride=stride, padding=1)
        h = torch.relu(normal(h, block["scale_first"], block["shift_first"]))
        h = functional.conv2d(h, block["second"], padding=1)
        h = normal(h, block["scale_second"], block["shift_second"])
        past = functional.conv2d(x, block["past"], stride=2) if "past" in block else x
        return torch.relu(h + past)

    def loss(params, x, y):
        x = x.permute(0, 3, 1, 2)
        h = torch.relu(functional.conv2d(x, params["stem"], padding=1))
        for block in params["blocks"]:
            h = apply(block, h)
        return functional.cross_entropy(h.mean((2, 3)) @ params["out"], y)

    return loss


def _window(rng, size: int, inputs: int, outputs: int, dtype: str) -> Array:
    scale = math.sqrt(2 / (size * size * inputs))
    return (scale * rng.normal(size=(size, size, inputs, outputs))).astype(dtype)


def _torch_params(tree):
    """Windows as (out, in, height, width)."""
    if isinstance(tree, dict):
        return {name: _torch_params(part) for name, part in tree.items()}
    if isinstance(tree, list):
        return [_torch_params(part) for part in tree]
    return np.ascontiguousarray(tree.transpose(3, 2, 0, 1)) if tree.ndim == 4 else tree
