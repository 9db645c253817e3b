"""Functions of elements: `gradloom.numpy` beside `jax.numpy`, `gradloom.nn` beside `jax.nn`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from tests.beside.table import Group, I, J, K, L, P, Q, W, X, Y, named, row

NUMPY = [
    *named("positive negative square reciprocal sqrt exp exp2 expm1 log log2 log10 log1p", P),
    *named("sin cos tan arcsin arccos arctan sinh cosh tanh arctanh deg2rad rad2deg", P),
    *named("abs sign floor ceil rint trunc isnan isfinite isinf", X),
    *named("add subtract multiply divide maximum minimum arctan2 logaddexp", X, Y),
    *named("less less_equal greater greater_equal equal not_equal", X, Y),
    *named("power", P, Q),
    *named("remainder floor_divide", X, P),
    *named("bitwise_and bitwise_or bitwise_xor floor_divide remainder", K, J),
    *named("left_shift right_shift", K, np.minimum(J, 3)),
    *named("logical_and logical_or logical_xor", L, X > 1),
    *named("logical_not invert", L),
    row("where", lambda g, b, x, y: [g.where(b, x, y), g.where(b, x * x, 0.0)], L, X, Y),
    row("clip", lambda g, x: [g.clip(x, -1, 1), g.clip(x, None, 0.5)], X),
    row("round", lambda g, x: [g.round(x), g.round(x, 1)], X),
    row("powers", lambda g, p: [p**k for k in (0, 1, 2, 3, 0.5, -1, -2, 2.5)], P),
    row("powers of a base", lambda g, p: [2.0**p, p**p], P),
    row("divmod", lambda g, x, p: list(g.divmod(x, p)), X, P),
    row("nan_to_num", lambda g, x: g.nan_to_num(g.where(x > 1, np.nan, x), nan=2.0), X),
    row("astype", lambda g, x: [x.astype("float32").astype("float64"), (x * 3).astype(int)], X),
    row("select", lambda g, x, y: g.select([x > 1, x > 0], [x * x, y], 7.0), X, Y),
    row("isclose", lambda g, x: [g.isclose(x, x + 1e-9), g.isclose(x, x[:1])], X),
    row("polyval", lambda g, w, x: g.polyval(w, x), W, X),
    row(
        "a formula",
        lambda g, x, y: g.exp(-(x**2)) * g.sin(x * y) / (1 + g.tanh(y) ** 2) - g.log1p(x * x),
        X,
        Y,
    ),
]

# The rest of NumPy's functions of elements, and the standard's names.
UFUNCS = [
    *named("absolute fabs cbrt asin acos atan asinh atanh degrees radians sinc", P),
    *named("arcsinh signbit isneginf isposinf", X),
    *named("arccosh acosh", P + 1),
    *named("fmax fmin hypot logaddexp2 copysign atan2", X, Y),
    *named("fmod mod true_divide float_power pow heaviside", P, Q),
    *named("gcd lcm bitwise_left_shift", J, J[::-1]),
    *named("bitwise_not bitwise_invert bitwise_count", J),
    row("ldexp", lambda g, x, i: g.ldexp(x, i), X, I),
    row("modf", lambda g, x: list(g.modf(x)), X),
    row("frexp", lambda g, x: list(g.frexp(x)), X),
]

NN = [
    *named("relu silu softplus sigmoid leaky_relu", X),
    row("gelu", lambda g, x: [g.gelu(x), g.gelu(x, approximate=False)], X),
    row("softmax", lambda g, x: [g.softmax(x), g.softmax(x, axis=0)], X),
    row("log_softmax", lambda g, x: [g.log_softmax(x), g.log_softmax(x, axis=0)], X),
    row("logsumexp", lambda g, x: [g.logsumexp(x), g.logsumexp(x, axis=1, keepdims=True)], X),
]

ELEMENTS = [
    Group("numpy", gnp, jnp, NUMPY),
    Group("ufuncs", gnp, jnp, UFUNCS),
    Group("nn", gl.nn, jax.nn, NN[:-1]),
]
