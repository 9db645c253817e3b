"""Two convolutional networks beside torch and JAX: one pass forwards, and one with all gradients.

LeNet-like on 28 x 28: 5 x 5 x 6, pool, 5 x 5 x 16, pool, 120-84-10; and residual on 32 x 32: 3 to
16 channels, then a block each of 16, 32 and 64, halving the sides between.  One thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

import gradloom as gl
from benchmarks.report import Report, Section
from benchmarks.rounds import Runner, take_turns

Params = dict[str, Any]
Array = np.ndarray


@dataclass(frozen=True)
class Network:
    """`logits(library, params, x)`, where a library has conv, pool, relu, bias, rows and mean."""

    logits: Callable[[Any, Params, Any], Any]
    params: Params
    x: Array
    labels: Array


def lenet(library: Any, p: Params, x: Any) -> Any:
    """28 x 28 to ten classes."""
    x = library.pool(library.relu(library.conv(x, p["w1"], 1, 0) + library.bias(p["b1"])))
    x = library.pool(library.relu(library.conv(x, p["w2"], 1, 0) + library.bias(p["b2"])))
    x = library.rows(x)
    x = library.relu(x @ p["w3"] + p["b3"])
    x = library.relu(x @ p["w4"] + p["b4"])
    return x @ p["w5"] + p["b5"]


def residual(library: Any, p: Params, x: Any) -> Any:
    """32 x 32 to ten classes; a convolution and three blocks of two, with shortcuts."""

    def layer(name: str, x: Any, stride: int = 1) -> Any:
        return library.conv(x, p[f"w{name}"], stride, 1) + library.bias(p[f"b{name}"])

    x = library.relu(layer("0", x))
    for block, stride in (("1", 1), ("2", 2), ("3", 2)):
        inner = layer(block + "b", library.relu(layer(block + "a", x, stride)))
        across = x if stride == 1 else library.conv(x, p[f"w{block}s"], stride, 0)
        x = library.relu(inner + across)
    return library.mean(x) @ p["w4"] + p["b4"]


def networks(dtype: str) -> dict[str, Network]:
    """Both, with weights as they are begun with; images are (n, height, width, channels)."""
    rng = np.random.default_rng(0)
    wide = {"0": (3, 3, 3, 16), "1a": (3, 3, 16, 16), "1b": (3, 3, 16, 16)}
    wide |= {"2a": (3, 3, 16, 32), "2b": (3, 3, 32, 32), "2s": (1, 1, 16, 32)}
    wide |= {"3a": (3, 3, 32, 64), "3b": (3, 3, 64, 64), "3s": (1, 1, 32, 64), "4": (64, 10)}
    narrow = {"1": (5, 5, 1, 6), "2": (5, 5, 6, 16), "3": (256, 120), "4": (120, 84), "5": (84, 10)}

    def begun(shapes: dict[str, tuple[int, ...]]) -> Params:
        params: Params = {}
        for name, shape in shapes.items():
            scale = (2 / np.prod(shape[:-1])) ** 0.5
            params[f"w{name}"] = rng.normal(size=shape, scale=scale).astype(dtype)
            params[f"b{name}"] = np.zeros(shape[-1], dtype)
        return params

    def images(*shape: int) -> tuple[Array, Array]:
        return rng.normal(size=shape).astype(dtype), rng.integers(0, 10, shape[0])

    return {
        "LeNet, batch 64": Network(lenet, begun(narrow), *images(64, 28, 28, 1)),
        "residual, batch 32": Network(residual, begun(wide), *images(32, 32, 32, 3)),
    }


# ---- contenders: functions from a network to its two passes


def _gradloom(network: Network) -> dict[str, Callable[[], Any]]:
    library = SimpleNamespace(
        conv=lambda x, w, stride, border: gl.nn.conv2d(x, w, stride, border),
        pool=lambda x: gl.nn.max_pool(x, 2),
        relu=gl.nn.relu,
        bias=lambda b: b,
        rows=lambda x: x.reshape(x.shape[0], -1),
        mean=lambda x: x.mean((1, 2)),
    )

    def loss(params: Params, x: Any, labels: Any) -> Any:
        logits = network.logits(library, params, x)
        return gl.nn.softmax_cross_entropy(logits, labels).mean()

    forward, both = gl.jit(loss), gl.jit(gl.value_and_grad(loss))
    given = (network.params, network.x, network.labels)
    return {"forward": lambda: forward(*given), "with gradients": lambda: both(*given)}


def _torch(network: Network) -> dict[str, Callable[[], Any]]:
    import torch

    torch.set_num_threads(1)
    functional = torch.nn.functional

    def leaf(w: Array) -> Any:
        turned = w.transpose(3, 2, 0, 1) if w.ndim == 4 else w
        made = torch.tensor(np.ascontiguousarray(turned))
        # Its own preferred layout, which is faster here than its standard one.
        made = made.to(memory_format=torch.channels_last) if w.ndim == 4 else made
        return made.requires_grad_()

    library = SimpleNamespace(
        conv=lambda x, w, stride, border: functional.conv2d(x, w, None, stride, border),
        pool=lambda x: functional.max_pool2d(x, 2),
        relu=functional.relu,
        bias=lambda b: b[:, None, None],
        rows=lambda x: x.permute(0, 2, 3, 1).flatten(1),
        mean=lambda x: x.mean((2, 3)),
    )
    params = {name: leaf(w) for name, w in network.params.items()}
    x = torch.tensor(network.x).permute(0, 3, 1, 2)  # channels last in memory
    labels = torch.tensor(network.labels)

    def forward() -> Any:
        with torch.no_grad():
            return functional.cross_entropy(network.logits(library, params, x), labels)

    def both() -> Any:
        for w in params.values():
            w.grad = None
        loss = functional.cross_entropy(network.logits(library, params, x), labels)
        loss.backward()
        return loss.detach()

    return {"forward": forward, "with gradients": both}


def _jax(network: Network) -> dict[str, Callable[[], Any]]:
    import jax

    if network.x.dtype == "float64":
        jax.config.update("jax_enable_x64", True)  # noqa: FBT003
    lax = jax.lax

    def conv(x: Any, w: Any, stride: int, border: int) -> Any:
        pads = ((border, border),) * 2
        names = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, (stride,) * 2, pads, dimension_numbers=names)

    window = (1, 2, 2, 1)
    library = SimpleNamespace(
        conv=conv,
        pool=lambda x: lax.reduce_window(x, -np.inf, lax.max, window, window, "VALID"),
        relu=jax.nn.relu,
        bias=lambda b: b,
        rows=lambda x: x.reshape(x.shape[0], -1),
        mean=lambda x: x.mean((1, 2)),
    )

    def loss(params: Params, x: Any, labels: Any) -> Any:
        scores = jax.nn.log_softmax(network.logits(library, params, x))
        return -(jax.nn.one_hot(labels, scores.shape[-1]) * scores).sum(-1).mean()

    forward, both = jax.jit(loss), jax.jit(jax.value_and_grad(loss))
    given = jax.tree.map(jax.numpy.asarray, (network.params, network.x, network.labels))
    return {
        "forward": lambda: jax.block_until_ready(forward(*given)),
        "with gradients": lambda: jax.block_until_ready(both(*given)),
    }


CONTENDERS = {"gradloom": _gradloom, "torch": _torch, "jax": _jax}


def measure(dtype: str = "float32", seconds: float = 6.0) -> Report:
    """Microseconds a pass, and ratios within the rounds of measurement."""
    rows, bars, raw = [], {}, {}
    for name, network in networks(dtype).items():
        passes = {who: make(network) for who, make in _installed().items()}
        for what in ("forward", "with gradients"):
            losses = [float(_loss(p[what]())) for p in passes.values()]
            np.testing.assert_allclose(losses, losses[0], 1e-4)
            timing = take_turns({who: Runner(p[what]) for who, p in passes.items()}, seconds)
            spreads = {who: timing.seconds(who) * 1e6 for who in timing.wall}
            ratios = {who: timing.ratio(who, "gradloom") for who in timing.wall}
            bars[f"{name}, {what}"] = spreads
            raw[f"{name}, {what}"] = {who: asdict(s) for who, s in spreads.items()}
            rows += [
                [f"{name}, {what}", who, f"{s.median:.0f}", f"{ratios[who].median:.2f}"]
                for who, s in spreads.items()
            ]
    return Report(
        f"convolutions-{dtype}",
        f"Microseconds a pass of a convolutional network, {dtype}",
        [Section("Loss and gradients by all weights", ["", "", "microseconds", "times"], rows)],
        ["torch has its weights and images in the memory format `channels_last`."],
        bars,
        "microseconds a pass",
        raw,
    )


def _loss(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def _installed() -> dict[str, Callable[[Network], dict[str, Callable[[], Any]]]]:
    from importlib.util import find_spec

    return {who: make for who, make in CONTENDERS.items() if who == "gradloom" or find_spec(who)}
