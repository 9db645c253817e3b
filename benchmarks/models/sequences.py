"""A recurrent network, a transformer, ten thousand classes, and a loop of small operators."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.models.model import Array, Loss, Model, dense_flops

# ---- LSTM


def lstm(
    dtype: str, count: int = 4, rows: int = 16, steps: int = 64, inputs: int = 32, hidden: int = 64
) -> Model:
    """A long short-term memory over a sequence; its last output is classified."""
    rng = np.random.default_rng(0)
    params = {
        "input": _matrix(rng, inputs, 4 * hidden, dtype),
        "hidden": _matrix(rng, hidden, 4 * hidden, dtype),
        "bias": np.zeros(4 * hidden, dtype),
        "out": _matrix(rng, hidden, 10, dtype),
    }
    x = rng.normal(size=(count, steps, rows, inputs)).astype(dtype)
    y = rng.integers(0, 10, (count, rows))
    gates = dense_flops((inputs, 4 * hidden), steps * rows)
    recurrent = 3 * 2 * steps * rows * hidden * 4 * hidden
    return Model(
        "lstm",
        f"LSTM: {inputs}-{hidden}, {steps} steps, batch {rows}",
        params,
        (x, y),
        _lstm_loss,
        _torch_lstm_loss,
        flops=gates + recurrent,
        to_torch=_torch_lstm_params,
    )


def _lstm_loss(words) -> Loss:
    numpy = words.numpy

    def loss(params, x, y):
        def cell(carry, fed):
            h, c = carry
            i, f, g, o = numpy.split(fed + h @ params["hidden"], 4, axis=-1)
            c = words.sigmoid(f) * c + words.sigmoid(i) * numpy.tanh(g)
            h = words.sigmoid(o) * numpy.tanh(c)
            return (h, c), None

        fed = x @ params["input"] + params["bias"]
        start = numpy.zeros((x.shape[1], params["hidden"].shape[0]), x.dtype)
        (h, _), _ = words.scan(cell, (start, start), fed)
        return words.cross_entropy(h @ params["out"], y).mean()

    return loss


def _torch_lstm_loss(torch) -> Loss:
    def loss(params, x, y):
        start = x.new_zeros(1, x.shape[1], params["hidden"].shape[1])
        weights = [params["input"], params["hidden"]]
        # one bias of two: the other is no parameter
        weights += [params["bias"], torch.zeros_like(params["bias"])]
        # with biases, one layer, no dropout, in training, one way, steps before rows
        how = (True, 1, 0.0, True, False, False)
        _, h, _ = torch.lstm(x, (start, start), weights, *how)
        return torch.nn.functional.cross_entropy(h[0] @ params["out"], y)

    return loss


def _torch_lstm_params(params):
    turned = {name: np.ascontiguousarray(params[name].T) for name in ("input", "hidden")}
    return {**params, **turned}


# ---- transformer


def transformer(
    dtype: str, count: int = 3, rows: int = 8, steps: int = 64, width: int = 128, heads: int = 4
) -> Model:
    """Two layers, normalised before each part, which predict the next of 64 symbols."""
    rng = np.random.default_rng(0)
    symbols, inner = 64, 4 * width
    params = {
        "embed": (0.1 * rng.normal(size=(symbols, width))).astype(dtype),
        "place": (0.1 * rng.normal(size=(steps, width))).astype(dtype),
        "layers": [_layer(rng, width, inner, dtype) for _ in range(2)],
        "out": _matrix(rng, width, symbols, dtype),
    }
    x = rng.integers(0, symbols, (count, rows, steps))
    products = 4 * width * width + 2 * width * inner + 2 * steps * width
    flops = 6.0 * rows * steps * (2 * products + width * symbols)
    return Model(
        "transformer",
        f"transformer: 2 layers of {width}, {heads} heads, {steps} symbols, batch {rows}",
        params,
        (x, np.roll(x, -1, -1)),
        partial(_transformer_loss, heads=heads),
        partial(_torch_transformer_loss, heads=heads),
        flops=flops,
    )


def _layer(rng, width: int, inner: int, dtype: str) -> dict[str, Array]:
    ones, zeros = np.ones(width, dtype), np.zeros(width, dtype)
    return {
        "scale1": ones,
        "shift1": zeros,
        "scale2": ones.copy(),
        "shift2": zeros.copy(),
        "qkv": _matrix(rng, width, 3 * width, dtype),
        "mix": _matrix(rng, width, width, dtype),
        "up": _matrix(rng, width, inner, dtype),
        "up_bias": np.zeros(inner, dtype),
        "down": _matrix(rng, inner, width, dtype),
        "down_bias": np.zeros(width, dtype),
    }


def _transformer_loss(words, heads: int) -> Loss:
    numpy = words.numpy

    def normal(x, scale, shift):
        deviation = x - x.mean(-1, keepdims=True)
        variance = (deviation * deviation).mean(-1, keepdims=True)
        return deviation / numpy.sqrt(variance + 1e-5) * scale + shift

    def attention(layer, x):
        rows, steps, width = x.shape
        split = (x @ layer["qkv"]).reshape(rows, steps, 3, heads, width // heads)
        q, k, v = (split[:, :, i] for i in range(3))
        scores = numpy.einsum("bqhd,bkhd->bhqk", q, k) * (width // heads) ** -0.5
        seen = np.tril(np.ones((steps, steps), bool))
        weights = words.softmax(numpy.where(seen, scores, -1e9))
        mixed = numpy.einsum("bhqk,bkhd->bqhd", weights, v)
        return mixed.reshape(rows, steps, width) @ layer["mix"]

    def loss(params, x, y):
        h = params["embed"][x] + params["place"]
        for layer in params["layers"]:
            h = h + attention(layer, normal(h, layer["scale1"], layer["shift1"]))
            inner = normal(h, layer["scale2"], layer["shift2"]) @ layer["up"] + layer["up_bias"]
            h = h + words.relu(inner) @ layer["down"] + layer["down_bias"]
        return words.cross_entropy(h @ params["out"], y).mean()

    return loss


def _torch_transformer_loss(torch, heads: int) -> Loss:
    functional = torch.nn.functional

    def attention(layer, x):
        rows, steps, width = x.shape
        split = (x @ layer["qkv"]).view(rows, steps, 3, heads, width // heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).reshape(rows, steps, width) @ layer["mix"]

    def loss(params, x, y):
        h = functional.embedding(x, params["embed"]) + params["place"]
        size = h.shape[-1:]
        for layer in params["layers"]:
            normal = functional.layer_norm(h, size, layer["scale1"], layer["shift1"])
            h = h + attention(layer, normal)
            normal = functional.layer_norm(h, size, layer["scale2"], layer["shift2"])
            flat = normal.reshape(-1, size[0])
            inner = torch.relu(torch.addmm(layer["up_bias"], flat, layer["up"]))
            h = h + torch.addmm(layer["down_bias"], inner, layer["down"]).view_as(h)
        logits = h.reshape(-1, size[0]) @ params["out"]
        return functional.cross_entropy(logits, y.reshape(-1))

    return loss


# ---- ten thousand classes


def embedding(
    dtype: str, count: int = 4, rows: int = 128, symbols: int = 10_000, width: int = 64
) -> Model:
    """The next word from the last: an embedding, and a softmax over all words."""
    rng = np.random.default_rng(0)
    params = {
        "embed": rng.normal(size=(symbols, width)).astype(dtype),
        "w": _matrix(rng, width, symbols, dtype),
        "b": np.zeros(symbols, dtype),
    }
    x, y = rng.integers(0, symbols, (2, count, rows))
    return Model(
        "embedding",
        f"embedding and softmax: {symbols:,} classes, width {width}, batch {rows}",
        params,
        (x, y),
        _embedding_loss,
        _torch_embedding_loss,
        flops=6.0 * rows * width * symbols,
    )


def _embedding_loss(words) -> Loss:
    def loss(params, x, y):
        logits = params["embed"][x] @ params["w"] + params["b"]
        return words.cross_entropy(logits, y).mean()

    return loss


def _torch_embedding_loss(torch) -> Loss:
    functional = torch.nn.functional

    def loss(params, x, y):
        logits = torch.addmm(params["b"], functional.embedding(x, params["embed"]), params["w"])
        return functional.cross_entropy(logits, y)

    return loss


# ---- a loop of small operators


def neurons(dtype: str, count: int = 4, rounds: int = 200, cells: int = 32) -> Model:
    """Membranes after Hodgkin and Huxley, whose conductances are fitted to a voltage in time."""
    rng = np.random.default_rng(0)
    params = {
        "sodium": np.full(cells, 120.0, dtype),
        "potassium": np.full(cells, 36.0, dtype),
        "leak": np.full(cells, 0.3, dtype),
    }
    current = rng.uniform(5, 15, (count, rounds, cells)).astype(dtype)
    wanted = rng.uniform(-70, -60, (count, rounds, cells)).astype(dtype)
    return Model(
        "neurons",
        f"scan of small operators: {rounds} rounds of {cells} membranes",
        params,
        (current, wanted),
        _neurons_loss,
        _torch_neurons_loss,
    )


def _membrane(exp, params, state, current, step: float = 0.02):
    """A round of explicit Euler: voltage, and how open the three kinds of gates are."""
    v, m, h, n = state
    flow = params["sodium"] * (m * m * m * h) * (v - 50.0)
    flow = flow + params["potassium"] * (n * n * n * n) * (v + 77.0)
    flow = flow + params["leak"] * (v + 54.4)
    s = (v + 40.0) * 0.1
    t = (v + 55.0) * 0.1
    opening = s / (1.0 - exp(-s)), 0.07 * exp((v + 65.0) * -0.05), 0.1 * t / (1.0 - exp(-t))
    closing = (
        4.0 * exp((v + 65.0) * (-1 / 18)),
        1.0 / (1.0 + exp((v + 35.0) * -0.1)),
        0.125 * exp((v + 65.0) * (-1 / 80)),
    )
    gates = (
        x + step * (a * (1.0 - x) - b * x)
        for x, a, b in zip((m, h, n), opening, closing, strict=True)
    )
    return v + step * (current - flow), *gates


REST = (-65.0, 0.05, 0.6, 0.32)  # the state that a membrane without current is in


def _neurons_loss(words) -> Loss:
    numpy = words.numpy

    def loss(params, current, wanted):
        def step(state, fed):
            after = _membrane(numpy.exp, params, state, fed)
            return after, after[0]

        start = tuple(numpy.full(current.shape[1:], x, current.dtype) for x in REST)
        _, voltages = words.scan(step, start, current)
        return ((voltages - wanted) ** 2).mean()

    return loss


def _torch_neurons_loss(torch) -> Loss:
    def loss(params, current, wanted):
        state = tuple(torch.full_like(current[0], x) for x in REST)
        voltages = []
        for fed in current:
            state = _membrane(torch.exp, params, state, fed)
            voltages.append(state[0])
        return ((torch.stack(voltages) - wanted) ** 2).mean()

    return loss


def _matrix(rng, inputs: int, outputs: int, dtype: str) -> Array:
    return (rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)).astype(dtype)
