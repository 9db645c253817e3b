"""Layers, losses and initial weights as plain functions of arrays and of nested dicts of arrays.

Losses are per example, as in optax: take their mean for what is to be minimised.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import ShapeError, message, user_where
from gradloom.ops import composite, elementwise, join
from gradloom.ops.composite import stop_gradient
from gradloom.ops.contract import matmul
from gradloom.ops.elementwise import abs_, astype, exp, log, minimum, rsqrt, where
from gradloom.ops.move import expand_dims
from gradloom.ops.public import as_operand
from gradloom.ops.reduce import max_, mean, sum_
from gradloom.train import random

if TYPE_CHECKING:
    from gradloom.train.convolutions import conv1d as conv1d
    from gradloom.train.convolutions import conv2d as conv2d
    from gradloom.train.pooling import avg_pool as avg_pool
    from gradloom.train.pooling import max_pool as max_pool

# What windows are for, imported when it is asked for: it takes as long as all the rest here.
_LATE = {
    **dict.fromkeys(("conv1d", "conv2d"), "gradloom.train.convolutions"),
    **dict.fromkeys(("avg_pool", "max_pool"), "gradloom.train.pooling"),
}

__all__ = [
    "avg_pool",
    "conv1d",
    "conv2d",
    "dropout",
    "gelu",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "huber_loss",
    "l2_loss",
    "layer_norm",
    "leaky_relu",
    "lecun_normal",
    "linear",
    "linear_init",
    "log_softmax",
    "max_pool",
    "mlp",
    "mlp_init",
    "one_hot",
    "relu",
    "sigmoid_binary_cross_entropy",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "squared_error",
]

# ---- activations

relu = composite.relu
softmax = composite.softmax
log_softmax = composite.log_softmax
sigmoid = elementwise.sigmoid
softplus = elementwise.softplus
tanh = elementwise.tanh
# By their names, which are those of rows.
__all__ += [sigmoid.__name__, softplus.__name__, tanh.__name__]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'gradloom.nn' has no attribute {name!r}")
    globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
    return globals()[name]


def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Any:
    """`x` where it is positive, else `negative_slope * x` [Maas, Hannun and Ng 2013]."""
    x = as_operand(x)
    return where(x > 0, x, negative_slope * x)


def silu(x: Any) -> Any:
    """`x * sigmoid(x)` [Elfwing, Uchibe and Doya 2018].

    >>> from gradloom.train import nn
    >>> round(float(nn.silu(1.0)), 6)
    0.731059
    """
    x = as_operand(x)
    return x * sigmoid(x)


def gelu(x: Any, approximate: bool = True) -> Any:
    """`x` times the normal distribution function at `x` [Hendrycks and Gimpel 2016].

    Approximated by a tanh, as in JAX, or exactly by the error function.

    >>> from gradloom.train import nn
    >>> round(float(nn.gelu(1.0)), 4), round(float(nn.gelu(1.0, approximate=False)), 4)
    (0.8412, 0.8413)
    """
    x = as_operand(x)
    if not approximate:
        return 0.5 * x * (1 + elementwise.erf(x * math.sqrt(0.5)))
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


# ---- losses

one_hot = join.one_hot


def softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """Cross entropy of `softmax(logits)` along the last axis, one number an example.

    `labels` are integers in the shape of the loss, or probabilities in the shape of `logits`.  An
    integer out of range costs 0.

    >>> import numpy as np
    >>> from gradloom.train import nn
    >>> nn.softmax_cross_entropy(np.zeros((2, 4)), [3, 0]).round(6)
    array([1.386294, 1.386294])
    """
    logits, labels = as_operand(logits), as_operand(labels)
    if labels.dtype.kind in "iu" and tuple(labels.shape) == tuple(logits.shape[:-1]):
        return _cross_entropy_of_classes(logits, labels)
    if tuple(labels.shape) != tuple(logits.shape):
        raise ShapeError(
            message(
                f"labels {labels.dtype}{list(labels.shape)} for logits {list(logits.shape)}",
                user_where(),
                "give one integer an example, or one probability a logit",
            )
        )
    return -sum_(labels * log_softmax(logits), -1)


def _cross_entropy_of_classes(logits: Any, labels: Any) -> Any:
    """`logsumexp(logits) - logits[label]`, both less the largest logit.

    The label's logit is chosen by a comparison inside of a sum, which needs no gather and,
    backwards, no scatter; and no product, in which a logit of -inf would spoil the others.
    """
    shifted = logits - stop_gradient(max_(logits, -1, keepdims=True))
    labels = astype(labels, "int64")
    known = (labels >= 0) & (labels < logits.shape[-1])
    label = expand_dims(astype(where(known, labels, -1), "int32"), -1)
    classes = join.index_along(shifted, logits.ndim - 1, "int32")
    chosen = sum_(where(label == classes, shifted, 0), -1)
    return where(known, log(sum_(exp(shifted), -1)) - chosen, 0)


def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Any:
    """Cross entropy of `sigmoid(logits)`, element by element; `labels` are from 0 to 1.

    >>> from gradloom.train import nn
    >>> float(nn.sigmoid_binary_cross_entropy(-1000.0, 1.0))
    1000.0
    """
    logits, labels = as_operand(logits), as_operand(labels)
    labels = astype(labels, logits.dtype) if labels.dtype.kind != "f" else labels
    return labels * softplus(-logits) + (1 - labels) * softplus(logits)


def squared_error(predictions: Any, targets: Any = 0) -> Any:
    """`(predictions - targets)**2`, element by element."""
    error = as_operand(predictions) - targets
    return error * error


def l2_loss(predictions: Any, targets: Any = 0) -> Any:
    """Half of `squared_error`."""
    return 0.5 * squared_error(predictions, targets)


def huber_loss(predictions: Any, targets: Any = 0, delta: Any = 1.0) -> Any:
    """`l2_loss` up to an error of `delta`, linear beyond [Huber 1964].

    >>> import numpy as np
    >>> from gradloom.train import nn
    >>> nn.huber_loss(np.array([0.5, 3.0]))
    array([0.125, 2.5  ])
    """
    size = abs_(as_operand(predictions) - targets)
    near = minimum(size, delta)
    return 0.5 * near * near + delta * (size - near)


# ---- layers


def linear(params: Any, x: Any) -> Any:
    """`x @ w + b` for `params` with the entries `w` (and `b`, if there is one)."""
    out = matmul(x, params["w"])
    return out + params["b"] if "b" in params else out


def mlp(params: Sequence[Any], x: Any, activation: Callable[[Any], Any] = relu) -> Any:
    """Linear layers with an activation between any two.

    >>> import numpy as np
    >>> from gradloom.train import nn, random
    >>> params = nn.mlp_init(random.key(0), (784, 128, 10))
    >>> nn.mlp(params, np.zeros((32, 784), "float32")).shape
    (32, 10)
    """
    for layer in params[:-1]:
        x = activation(linear(layer, x))
    return linear(params[-1], x)


def layer_norm(
    x: Any, scale: Any = None, bias: Any = None, axis: Any = -1, epsilon: float = 1e-6
) -> Any:
    """`x` with mean 0 and variance 1 along `axis`, then scaled and shifted [Ba et al. 2016].

    >>> import numpy as np
    >>> from gradloom.train import nn
    >>> nn.layer_norm(np.array([1.0, 3.0]), scale=2.0).round(3)
    array([-2.,  2.])
    """
    x = as_operand(x)
    deviation = x - mean(x, axis, keepdims=True)
    out = deviation * rsqrt(mean(deviation * deviation, axis, keepdims=True) + epsilon)
    if scale is not None:
        out = out * scale
    return out if bias is None else out + bias


def dropout(key: Any, x: Any, rate: Any) -> Any:
    """Elements set to 0 with probability `rate`, the others divided by `1 - rate`.

    [Srivastava et al. 2014, section 10.]  For training: leave it out to predict.

    >>> import numpy as np
    >>> from gradloom.train import nn, random
    >>> sorted(set(nn.dropout(random.key(0), np.ones(50), 0.2).tolist()))
    [0.0, 1.25]
    """
    x = as_operand(x)
    if isinstance(rate, int | float) and rate == 0:
        return x
    kept = random.bernoulli(key, 1 - rate, tuple(x.shape))
    return where(kept, x / (1 - rate), 0)


# ---- initial weights: functions of (key, shape, dtype)


def glorot_uniform(key: Any, shape: tuple[int, ...], dtype: Any = "float32") -> Any:
    """Uniform with variance `2 / (fan_in + fan_out)` [Glorot and Bengio 2010, equation 16].

    The last two axes are inputs and outputs; axes before them are the window of a convolution.

    >>> from gradloom.train import nn, random
    >>> w = nn.glorot_uniform(random.key(0), (30, 20))
    >>> bool(abs(w).max() < (6 / 50) ** 0.5), w.dtype
    (True, dtype('float32'))
    """
    return _uniform(key, shape, dtype, 2 / sum(_fans(shape)))


def glorot_normal(key: Any, shape: tuple[int, ...], dtype: Any = "float32") -> Any:
    """Normal with variance `2 / (fan_in + fan_out)`."""
    return _normal(key, shape, dtype, 2 / sum(_fans(shape)))


def he_uniform(key: Any, shape: tuple[int, ...], dtype: Any = "float32") -> Any:
    """Uniform with variance `2 / fan_in`."""
    return _uniform(key, shape, dtype, 2 / _fans(shape)[0])


def he_normal(key: Any, shape: tuple[int, ...], dtype: Any = "float32") -> Any:
    """Normal, not truncated, with variance `2 / fan_in`, for `relu` [He et al. 2015, eq. 10]."""
    return _normal(key, shape, dtype, 2 / _fans(shape)[0])


def lecun_normal(key: Any, shape: tuple[int, ...], dtype: Any = "float32") -> Any:
    """Normal, not truncated, with variance `1 / fan_in` [LeCun et al. 1998, section 4.6]."""
    return _normal(key, shape, dtype, 1 / _fans(shape)[0])


def linear_init(
    key: Any,
    inputs: int,
    outputs: int,
    dtype: Any = "float32",
    initializer: Callable[..., Any] = glorot_uniform,
) -> dict[str, Any]:
    """Parameters of `linear`: `w` of shape (inputs, outputs), and `b`, zeros."""
    return {"w": initializer(key, (inputs, outputs), dtype), "b": np.zeros(outputs, dtype)}


def mlp_init(
    key: Any,
    sizes: Sequence[int],
    dtype: Any = "float32",
    initializer: Callable[..., Any] = glorot_uniform,
) -> list[dict[str, Any]]:
    """Parameters of `mlp`: one layer between any two of `sizes`."""
    keys = random.split(key, len(sizes) - 1)
    return [
        linear_init(keys[i], inputs, outputs, dtype, initializer)
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes))
    ]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs an output has, and outputs an input."""
    if len(shape) < 2:
        raise ShapeError(
            message(
                f"weights of shape {shape} have no fan in and fan out",
                user_where(),
                "give two axes or more, (..., inputs, outputs); begin biases with zeros",
            )
        )
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _uniform(key: Any, shape: tuple[int, ...], dtype: Any, variance: float) -> Any:
    limit = math.sqrt(3 * variance)
    return random.uniform(key, shape, dtype, -limit, limit)


def _normal(key: Any, shape: tuple[int, ...], dtype: Any, variance: float) -> Any:
    return random.normal(key, shape, dtype) * math.sqrt(variance)
