"""Optimizers as pairs of pure functions, optax's `(init, update)`, traced into the training step.

Hyper-parameters are leaves of the state: a program is compiled once for all their values.  Every
update is element by element, in the dtype of the parameters.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gradloom.errors import DtypeError, message, user_where
from gradloom.frontend.pytree import flatten, tree_map
from gradloom.frontend.trace import type_of
from gradloom.ops.elementwise import astype, cos, expm1, log, maximum, minimum, sqrt, where
from gradloom.ops.public import as_operand
from gradloom.ops.reduce import sum_
from gradloom.ops.ufuncs import power

__all__ = [
    "GradientTransformation",
    "adam",
    "adamw",
    "apply_updates",
    "chain",
    "clip_by_global_norm",
    "constant_schedule",
    "cosine_decay_schedule",
    "exponential_decay",
    "global_norm",
    "linear_schedule",
    "momentum",
    "nesterov",
    "sgd",
    "warmup_cosine_decay_schedule",
]

Schedule = Callable[[Any], Any]


class GradientTransformation(NamedTuple):
    """What turns gradients into updates.

    `init(params) -> state`; `update(grads, state, params) -> (updates, state)`, where `updates`
    are to be added to the parameters by `apply_updates`.
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


class SgdState(NamedTuple):
    """`velocity` is None without momentum."""

    count: Any
    velocity: Any
    hyper: dict[str, Any]


class AdamState(NamedTuple):
    """`mu` and `nu` are the running means of the gradient and of its square."""

    count: Any
    mu: Any
    nu: Any
    hyper: dict[str, Any]


class ClipState(NamedTuple):
    """The state of `clip_by_global_norm`."""

    hyper: dict[str, Any]


def apply_updates(params: Any, updates: Any) -> Any:
    """`params + updates`, leaf by leaf, in the dtypes of `params`."""
    return tree_map(lambda p, u: astype(p + u, as_operand(p).dtype), params, updates)


# ---- optimizers


def sgd(
    learning_rate: float | Schedule, momentum: float = 0.0, nesterov: bool = False
) -> GradientTransformation:
    """Gradient descent: `v = g + momentum * v`, update `-learning_rate * v`.

    With Nesterov's acceleration [Sutskever et al. 2013] the update is
    `-learning_rate * (g + momentum * v)`.  A momentum of exactly 0 keeps no velocity.

    >>> import numpy as np
    >>> from gradloom.train import optim
    >>> rule = optim.sgd(0.5)
    >>> params = np.array([1.0, 2.0])
    >>> updates, state = rule.update(np.array([2.0, 4.0]), rule.init(params), params)
    >>> optim.apply_updates(params, updates)
    array([0., 0.])
    """
    plain = isinstance(momentum, int | float) and momentum == 0

    def init(params: Any) -> SgdState:
        constants = {} if plain else {"momentum": momentum}
        hyper = _hyper(params, learning_rate=learning_rate, **constants)
        return SgdState(_zero(), None if plain else tree_map(_zeros, params), hyper)

    def update(grads: Any, state: SgdState, params: Any = None) -> tuple[Any, SgdState]:
        velocity, direction = state.velocity, grads
        if not plain:
            decay = state.hyper["momentum"]
            velocity = _decayed(decay, grads, velocity)
            direction = _decayed(decay, grads, velocity) if nesterov else velocity
        rate = _rate(learning_rate, state, grads)
        updates = tree_map(lambda d: -_as(rate, d) * d, direction)
        return updates, SgdState(state.count + 1, velocity, state.hyper)

    return GradientTransformation(init, update)


def _decayed(decay: Any, grads: Any, velocity: Any) -> Any:
    return tree_map(lambda g, v: g + _as(decay, g) * v, grads, velocity)


def momentum(learning_rate: float | Schedule, decay: float = 0.9) -> GradientTransformation:
    """`sgd` with the heavy ball of Polyak (1964)."""
    return sgd(learning_rate, decay)


def nesterov(learning_rate: float | Schedule, decay: float = 0.9) -> GradientTransformation:
    """`sgd` with Nesterov's acceleration."""
    return sgd(learning_rate, decay, nesterov=True)


def adam(
    learning_rate: float | Schedule = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> GradientTransformation:
    """Adam [Kingma and Ba 2015, algorithm 1]: update `-rate * m_hat / (sqrt(v_hat) + eps)`.

    >>> import numpy as np
    >>> from gradloom.train import optim
    >>> rule = optim.adam(0.1)
    >>> params = {"w": np.ones(2, np.float32)}
    >>> updates, state = rule.update({"w": np.float32([3, -5])}, rule.init(params), params)
    >>> updates["w"].round(3)
    array([-0.1,  0.1], dtype=float32)
    """
    return _adam(learning_rate, decays=False, b1=b1, b2=b2, eps=eps)


def adamw(
    learning_rate: float | Schedule = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-4,
) -> GradientTransformation:
    """Adam with decoupled decay [Loshchilov and Hutter 2019]: `-rate * weight_decay * p` is added.

    `update` needs `params`.
    """
    return _adam(learning_rate, decays=True, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)


def _adam(
    learning_rate: float | Schedule, decays: bool, **constants: Any
) -> GradientTransformation:
    def init(params: Any) -> AdamState:
        hyper = _hyper(params, learning_rate=learning_rate, **constants)
        return AdamState(_zero(), tree_map(_zeros, params), tree_map(_zeros, params), hyper)

    def update(grads: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        count = state.count + 1
        b1, b2 = state.hyper["b1"], state.hyper["b2"]
        mu = tree_map(lambda g, m: _as(b1, g) * m + _as(1 - b1, g) * g, grads, state.mu)
        nu = tree_map(lambda g, v: _as(b2, g) * v + _as(1 - b2, g) * (g * g), grads, state.nu)
        # As factors, so that an element costs one division.
        scale1, scale2 = _unbias(b1, count), _unbias(b2, count)
        eps = state.hyper["eps"]
        updates = tree_map(
            lambda m, v: m * _as(scale1, m) / (sqrt(v * _as(scale2, m)) + _as(eps, m)), mu, nu
        )
        if decays:
            decay = state.hyper["weight_decay"]
            updates = tree_map(lambda u, p: u + _as(decay, u) * p, updates, params)
        rate = _rate(learning_rate, state, grads)
        updates = tree_map(lambda u: -_as(rate, u) * u, updates)
        return updates, AdamState(count, mu, nu, state.hyper)

    return GradientTransformation(init, update)


def _unbias(decay: Any, count: Any) -> Any:
    """1 / (1 - decay**count): a mean that began at zero lacks this factor after `count` steps.

    Through the logarithm, which costs half of a power, does not cancel in the first steps, and is
    as fast when decay**count has become smaller than any normal number: 25 ns instead of 80.
    """
    return -1.0 / expm1(astype(count, decay.dtype) * log(decay))


# ---- transformations of gradients


def chain(*parts: GradientTransformation) -> GradientTransformation:
    """One transformation after another; the state is the tuple of their states.

    >>> from gradloom.train import optim
    >>> rule = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(1e-3))
    """

    def init(params: Any) -> tuple[Any, ...]:
        return tuple(part.init(params) for part in parts)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, tuple[Any, ...]]:
        states = []
        for part, own in zip(parts, state, strict=True):
            grads, own = part.update(grads, own, params)
            states.append(own)
        return grads, tuple(states)

    return GradientTransformation(init, update)


def clip_by_global_norm(max_norm: float) -> GradientTransformation:
    """Gradients scaled down so that all leaves together have at most this Euclidean norm.

    [Pascanu, Mikolov and Bengio 2013, algorithm 1.]
    """

    def init(params: Any) -> ClipState:
        return ClipState(_hyper(params, max_norm=max_norm))

    def update(grads: Any, state: ClipState, params: Any = None) -> tuple[Any, ClipState]:
        limit = state.hyper["max_norm"]
        scale = limit / maximum(astype(global_norm(grads), limit.dtype), limit)
        return tree_map(lambda g: g * _as(scale, g), grads), state

    return GradientTransformation(init, update)


def global_norm(tree: Any) -> Any:
    """The Euclidean norm of all leaves together.

    >>> import numpy as np
    >>> from gradloom.train import optim
    >>> float(optim.global_norm({"a": np.array([3.0]), "b": np.array(4.0)}))
    5.0
    """
    squares = [sum_(as_operand(leaf) * leaf) for leaf in flatten(tree)[0]]
    return sqrt(functools.reduce(lambda a, b: a + b, squares))


# ---- schedules: learning rates as functions of the number of updates done


def constant_schedule(value: float) -> Schedule:
    """Always `value`; part of the program, whereas a plain number is not."""
    return lambda count: value


def exponential_decay(
    init_value: float, transition_steps: int, decay_rate: float, staircase: bool = False
) -> Schedule:
    """`init_value * decay_rate ** (count / transition_steps)`; whole exponents if `staircase`.

    >>> from gradloom.train import optim
    >>> float(optim.exponential_decay(1.0, 10, 0.25)(5))
    0.5
    """

    def schedule(count: Any) -> Any:
        exponent = count // transition_steps if staircase else count / transition_steps
        return init_value * power(decay_rate, exponent)

    return schedule


def cosine_decay_schedule(init_value: float, decay_steps: int, alpha: float = 0.0) -> Schedule:
    """Half a cosine from `init_value` to `alpha * init_value` [Loshchilov and Hutter 2017].

    >>> from gradloom.train import optim
    >>> rate = optim.cosine_decay_schedule(1.0, 10)
    >>> [round(float(rate(count)), 3) for count in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 0.0]
    """

    def schedule(count: Any) -> Any:
        angle = minimum(count, decay_steps) * (math.pi / decay_steps)
        return init_value * ((1 - alpha) * 0.5 * (1 + cos(angle)) + alpha)

    return schedule


def linear_schedule(init_value: float, end_value: float, transition_steps: int) -> Schedule:
    """From `init_value` to `end_value` in equal steps, then constant."""

    def schedule(count: Any) -> Any:
        done = minimum(count, transition_steps) / transition_steps
        return init_value + (end_value - init_value) * done

    return schedule


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
) -> Schedule:
    """Linear to `peak_value` in `warmup_steps`, then a cosine to `end_value` at `decay_steps`.

    >>> from gradloom.train import optim
    >>> rate = optim.warmup_cosine_decay_schedule(0.0, 1.0, 4, 12)
    >>> [round(float(rate(count)), 3) for count in (0, 2, 4, 8, 12)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    rise = linear_schedule(init_value, peak_value, warmup_steps)
    fall = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, end_value / peak_value)
    return lambda count: where(count < warmup_steps, rise(count), fall(count - warmup_steps))


# ---- parts of the state


def _zero() -> np.ndarray:
    return np.zeros((), "int32")


def _zeros(leaf: Any) -> np.ndarray:
    """Zeros that take no memory: a training state copies them to where they are updated.

    As arrays of their own the moments of 784-512-256-10 with Adam would take 4 MB beside a state
    of 6 while it is made, the most that training ever takes.
    """
    kind = type_of(leaf)
    return np.broadcast_to(np.zeros((), kind.dtype), kind.shape)


def _hyper(params: Any, **values: Any) -> dict[str, Any]:
    """The numbers among `values` as 0-d arrays in the float dtype of `params`."""
    dtype = _float_dtype(params)
    return {
        name: astype(as_operand(value), dtype)
        for name, value in values.items()
        if not callable(value)
    }


def _float_dtype(params: Any) -> str:
    """The widest dtype of the parameters; raises `DtypeError` where one is not a float."""
    kinds = [type_of(leaf) for leaf in flatten(params)[0]]
    for kind in kinds:
        if not kind.is_float:
            raise DtypeError(
                message(
                    f"a parameter is {kind}, which has no gradient",
                    user_where(),
                    "convert it with .astype('float32'), or keep it outside of the parameters",
                )
            )
    return np.result_type("float32", *(kind.dtype for kind in kinds)).name


def _rate(learning_rate: Any, state: Any, grads: Any) -> Any:
    """The learning rate of this update.

    A schedule sees the number of updates done, as a float of the parameters' dtype: from an
    integer, NumPy's promotion would lead it into float64.
    """
    if not callable(learning_rate):
        return state.hyper["learning_rate"]
    dtype = _float_dtype(grads)
    return astype(as_operand(learning_rate(astype(state.count, dtype))), dtype)


def _as(scalar: Any, like: Any) -> Any:
    """`scalar` in the dtype of a leaf, for parameters of mixed precision."""
    return scalar if scalar.dtype == like.dtype else astype(scalar, like.dtype)
