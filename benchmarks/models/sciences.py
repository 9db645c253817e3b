"""Where derivatives are wanted beside networks: physics, finance, statistics, plain arithmetic."""

from __future__ import annotations

import numpy as np

from benchmarks.models.model import Array, Loss, Model, dense

# ---- a network that obeys an equation


def physics(dtype: str, count: int = 8, rows: int = 512) -> Model:
    """Burgers' equation at random points: u_t + u u_x = 0.01 u_xx, and the wave it begins as."""
    rng = np.random.default_rng(0)
    x, t = rng.uniform(-1, 1, (count, rows, 1)), rng.uniform(0, 1, (count, rows, 1))
    return Model(
        "physics",
        f"physics-informed network: 2-64-64-64-1, u_xx in the loss, {rows} points",
        dense((2, 64, 64, 64, 1), dtype),
        (x.astype(dtype), t.astype(dtype)),
        _physics_loss,
        _torch_physics_loss,
        inner_derivatives=True,
    )


def _network(params, x, t, tanh):
    h = tanh(x * params[0]["w"][0] + t * params[0]["w"][1] + params[0]["b"])
    for layer in params[1:-1]:
        h = tanh(h @ layer["w"] + layer["b"])
    return h @ params[-1]["w"] + params[-1]["b"]


def _physics_loss(words) -> Loss:
    numpy = words.numpy

    def loss(params, x, t):
        def u(x, t):
            return _network(params, x, t, numpy.tanh)

        def along_x(x):
            return words.jvp(lambda x: u(x, t), (x,), (numpy.ones_like(x),))

        (value, u_x), (_, u_xx) = words.jvp(along_x, (x,), (numpy.ones_like(x),))
        _, u_t = words.jvp(lambda t: u(x, t), (t,), (numpy.ones_like(t),))
        wrong = u_t + value * u_x - 0.01 * u_xx
        start = u(x, numpy.zeros_like(t)) + numpy.sin(np.pi * x)
        return (wrong * wrong).mean() + (start * start).mean()

    return loss


def _torch_physics_loss(torch) -> Loss:
    def slope(value, by):
        return torch.autograd.grad(value, by, torch.ones_like(value), create_graph=True)

    def loss(params, x, t):
        x, t = x.detach().requires_grad_(), t.detach().requires_grad_()
        value = _network(params, x, t, torch.tanh)
        u_x, u_t = slope(value, (x, t))
        (u_xx,) = slope(u_x, x)
        wrong = u_t + value * u_x - 0.01 * u_xx
        start = _network(params, x, torch.zeros_like(t), torch.tanh) + torch.sin(np.pi * x)
        return (wrong * wrong).mean() + (start * start).mean()

    return loss


# ---- bodies that attract and repel one another


def bodies(dtype: str, count: int = 4, size: int = 512) -> Model:
    """The energy of all pairs after Lennard-Jones, softened; a step down along the forces."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), -1).reshape(-1, 3)[:size]
    params = {"place": (1.2 * grid + 0.1 * rng.normal(size=grid.shape)).astype(dtype)}
    charge = rng.uniform(0.5, 1.5, (count, size)).astype(dtype)
    return Model(
        "bodies",
        f"pairwise potential: {size} bodies",
        params,
        (charge,),
        _bodies_loss,
        _torch_bodies_loss,
        optimizer="sgd",
        rate=1e-5,
    )


def _bodies_loss(words) -> Loss:
    def loss(params, charge):
        # coordinate by coordinate: no array with an axis of three
        x = params["place"]
        squares = sum((x[:, i, None] - x[None, :, i]) ** 2 for i in range(3)) + 0.1
        sixth = 1.0 / (squares * squares * squares)
        return (charge[:, None] * charge * (sixth * sixth - sixth)).sum() * (0.5 / len(x))

    return loss


def _torch_bodies_loss(torch) -> Loss:
    return _bodies_loss(None)


# ---- options and their Greeks


def options(dtype: str, count: int = 2, size: int = 1_000_000) -> Model:
    """Prices after Black and Scholes, and their slopes by spot, time, volatility and rate."""
    rng = np.random.default_rng(0)
    ranges = [(80, 120), (80, 120), (0.1, 2), (0.1, 0.5), (0.0, 0.1)]  # spot, strike, ...
    data = tuple(rng.uniform(*r, (count, size)).astype(dtype) for r in ranges)
    return Model(
        "options",
        f"Black-Scholes: prices and four Greeks of {size:,} options",
        {},
        data,
        _options,
        _torch_options,
        optimizer="",
        traffic=10.0 * size * np.dtype(dtype).itemsize,
    )


def _price(spot, strike, time, volatility, rate, sqrt, log, exp, erf):
    spread = volatility * sqrt(time)
    d1 = (log(spot / strike) + (rate + 0.5 * volatility * volatility) * time) / spread
    d2 = d1 - spread
    half = 0.7071067811865476
    below = 0.5 * (1.0 + erf(d1 * half)), 0.5 * (1.0 + erf(d2 * half))
    return spot * below[0] - strike * exp(-rate * time) * below[1]


def _options(words) -> Loss:
    numpy = words.numpy

    def greeks(params, spot, strike, time, volatility, rate):
        def total(spot, time, volatility, rate):
            price = _price(
                *(spot, strike, time, volatility, rate),
                *(numpy.sqrt, numpy.log, numpy.exp, words.erf),
            )
            return price.sum(), price

        slopes = words.value_and_grad(total, (0, 1, 2, 3), has_aux=True)
        (_, price), grads = slopes(spot, time, volatility, rate)
        return (price, *grads)

    return greeks


def _torch_options(torch) -> Loss:
    def greeks(params, spot, strike, time, volatility, rate):
        by = [x.detach().requires_grad_() for x in (spot, time, volatility, rate)]
        price = _price(
            *(by[0], strike, by[1], by[2], by[3]),
            *(torch.sqrt, torch.log, torch.exp, torch.erf),
        )
        return (price.detach(), *torch.autograd.grad(price, by, torch.ones_like(price)))

    return greeks


# ---- a Gaussian process


def process(dtype: str, count: int = 4, size: int = 256) -> Model:
    """The likelihood of points under a Gaussian process, by its lengths, height and noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, size, 4)).astype(dtype)
    y = (np.sin(2 * x[..., 0]) + 0.1 * rng.normal(size=(count, size))).astype(dtype)
    params = {
        "lengths": np.zeros(4, dtype),
        "height": np.zeros((), dtype),
        "noise": np.array(-1.0, dtype),
    }
    return Model(
        "process",
        f"Gaussian process: likelihood of {size} points, four lengths",
        params,
        (x, y),
        _process_loss,
        _torch_process_loss,
    )


def _covariance(params, x, exp, identity):
    scaled = x * exp(-params["lengths"])
    norms = (scaled * scaled).sum(-1)
    squares = norms[:, None] + norms[None, :] - 2.0 * (scaled @ scaled.T)
    return exp(params["height"] - 0.5 * squares) + exp(params["noise"]) * identity


def _process_loss(words) -> Loss:
    numpy = words.numpy

    def loss(params, x, y):
        identity = np.eye(len(y), dtype=y.dtype)
        root = words.cholesky(_covariance(params, x, numpy.exp, identity))
        whitened = words.solve_triangular(root, y, lower=True)
        return (0.5 * (whitened * whitened) + numpy.log(numpy.diagonal(root))).mean()

    return loss


def _torch_process_loss(torch) -> Loss:
    def loss(params, x, y):
        identity = torch.eye(len(y), dtype=y.dtype)
        root = torch.linalg.cholesky(_covariance(params, x, torch.exp, identity))
        whitened = torch.linalg.solve_triangular(root, y[:, None], upper=False)[:, 0]
        return (0.5 * (whitened * whitened) + torch.log(torch.diagonal(root))).mean()

    return loss


# ---- arithmetic, one element after another


def chain(dtype: str, count: int = 1, size: int = 10_000_000) -> Model:
    """Eight elementwise operations and a mean; the weights are as many as the data."""
    rng = np.random.default_rng(0)
    x, y, w = (_normal(rng, (n, size), dtype) for n in (count, count, 1))
    arrays = 8  # x, y, the weights and both moments are read; the last three are written
    return Model(
        "chain",
        f"elementwise chain: {size:,} weights",
        {"w": w[0]},
        (x, y),
        _chain_loss,
        _torch_chain_loss,
        traffic=1.0 * arrays * size * np.dtype(dtype).itemsize,
    )


def _normal(rng, shape: tuple[int, ...], dtype: str) -> Array:
    return rng.standard_normal(shape, dtype="float32").astype(dtype)


def _chain_loss(words) -> Loss:
    numpy = words.numpy

    def loss(params, x, y):
        u = numpy.tanh(params["w"] * x)
        error = numpy.exp(-u * u) * u - y
        return (error * error).mean()

    return loss


def _torch_chain_loss(torch) -> Loss:
    def loss(params, x, y):
        u = torch.tanh(params["w"] * x)
        error = torch.exp(-u * u) * u - y
        return (error * error).mean()

    return loss
