"""Functions of one array of any shape: empty, 0-d, strided, broadcast; against NumPy's."""

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.test_functions import flat

import gradloom as gl
import gradloom.numpy as gnp


def last(x):
    return x.ndim - 1


# Where NumPy raises, ours must too; and only there.
CALLS = {
    "sum": lambda g, x: [g.sum(x), g.sum(x, axis=-1), g.sum(x, keepdims=True)],
    "sum where": lambda g, x: [g.sum(x, where=x > 0), g.prod(x, where=x > 0, initial=2.0)],
    "prod": lambda g, x: [g.prod(x), g.prod(x, axis=last(x))],
    "max": lambda g, x: [g.max(x), g.max(x, axis=-1, keepdims=True)],
    "max initial": lambda g, x: [g.max(x, initial=0.5), g.min(x, axis=0, initial=0.5)],
    "min": lambda g, x: g.min(x, axis=0),
    "mean": lambda g, x: [g.mean(x), g.mean(x, axis=-1)],
    "var": lambda g, x: [g.var(x), g.std(x, axis=0), g.var(x, ddof=2)],
    "any": lambda g, x: [g.any(x > 0), g.all(x > 0, axis=-1), g.count_nonzero(x > 0)],
    "argmax": lambda g, x: [g.argmax(x), g.argmin(x, axis=-1)],
    "ptp": lambda g, x: g.ptp(x),
    "nansum": lambda g, x: [g.nansum(x), g.nanprod(x, axis=-1)],
    "median": lambda g, x: [g.median(x), g.median(x, axis=-1)],
    "quantile": lambda g, x: g.quantile(x, 0.3, axis=0),
    "ravel": lambda g, x: [g.ravel(x), g.ravel(x, order="F"), g.reshape(x, -1)],
    "transpose": lambda g, x: [g.transpose(x), x.T, g.moveaxis(x, 0, -1)],
    "expand_dims": lambda g, x: [g.expand_dims(x, (0, -1)), g.squeeze(g.expand_dims(x, 0), 0)],
    "flip": lambda g, x: [g.flip(x), g.flip(x, -1)],
    "roll": lambda g, x: [g.roll(x, 2), g.roll(x, -1, axis=0)],
    "rot90": lambda g, x: [g.rot90(x), g.rot90(x, 2)],
    "tile": lambda g, x: [g.tile(x, 2), g.tile(x, (2, 1, 2))],
    "repeat": lambda g, x: [g.repeat(x, 2), g.repeat(x, 2, axis=-1)],
    "concatenate": lambda g, x: [g.concatenate([x, x], -1), g.concatenate([x, x], None)],
    "stack": lambda g, x: [g.stack([x, x]), g.stack([x, x], -1)],
    "vstack": lambda g, x: [g.vstack([x, x]), g.hstack([x, x]), g.dstack([x, x])],
    "atleast": lambda g, x: [g.atleast_1d(x), g.atleast_2d(x), g.atleast_3d(x)],
    "split": lambda g, x: g.array_split(x, 3, -1),
    "unstack": lambda g, x: [*g.unstack(x), x] if len(x.shape) else g.unstack(x),
    "pad": lambda g, x: [g.pad(x, 1), g.pad(x, (0, 2), constant_values=1.5)],
    "pad edge": lambda g, x: [g.pad(x, 2, "edge"), g.pad(x, 1, "linear_ramp")],
    "pad wrap": lambda g, x: [g.pad(x, 2, "wrap"), g.pad(x, 3, "symmetric")],
    "cumsum": lambda g, x: [g.cumsum(x), g.cumsum(x, axis=-1), g.cumprod(x, axis=0)],
    "diff": lambda g, x: [g.diff(x), g.diff(x, axis=0, append=1.0)],
    "ediff1d": lambda g, x: g.ediff1d(x),
    "gradient": lambda g, x: g.gradient(x, axis=-1),
    "trapezoid": lambda g, x: g.trapezoid(x),
    "take": lambda g, x: [g.take(x, [0, -1], axis=-1), g.take(x, [0], mode="clip")],
    "clip": lambda g, x: g.clip(x, -0.5, 0.5),
    "where": lambda g, x: g.where(x > 0, x, 0),
    "diagonal": lambda g, x: [g.diagonal(x), g.trace(x, 1), g.diagonal(x, -1, -1, 0)],
    "tril": lambda g, x: [g.tril(x), g.triu(x, 1)] if len(x.shape) != 1 else g.tril(x[0, 0]),
    "kron": lambda g, x: g.kron(x, x),
    "outer": lambda g, x: [g.outer(x, x), g.inner(x, x), g.vdot(x, x)],
    "dot": lambda g, x: [g.dot(x, 2.0), g.tensordot(x, x, 0)],
    "matmul": lambda g, x: [g.matmul(x, g.swapaxes(x, -1, -2)), g.vecdot(x, x)],
    "einsum": lambda g, x: [g.einsum("...->...", x), g.einsum("...i->...", x)],
    "average": lambda g, x: g.average(x),
    "index": lambda g, x: [x[...], x[None], x[..., None], x[..., ::-1], x[..., :-1]],
    "broadcast": lambda g, x: [g.broadcast_to(x, (2, *x.shape)), *g.broadcast_arrays(x, 1.0)],
    "histogram": lambda g, x: g.histogram(x, 3, (-1.0, 1.0))[0],
    "sort": lambda g, x: [g.sort(x), g.argsort(x, axis=0)],
}
LAYOUTS = {
    "plain": lambda x: x,
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1] if x.ndim else x,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "strided": lambda x: np.repeat(x, 2, -1)[..., ::2] if x.ndim else x,
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape) if x.ndim and x.size else x,
}


def attempted(call, space, x):
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [np.asarray(r) for r in flat(call(space, x))]
    except (ValueError, IndexError, TypeError, ArithmeticError):  # as both have them
        return None


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(["float64", "float32"]),
    st.sampled_from(sorted(LAYOUTS)),
    st.permutations(sorted(CALLS)),
)
def test_any_shape(sizes, dtype, layout, order):
    rng = np.random.default_rng(sum(sizes))
    x = LAYOUTS[layout](rng.uniform(-2, 2, sizes).astype(dtype))
    wanted = {name: attempted(call, np, x) for name, call in CALLS.items()}
    for name, call in CALLS.items():
        found = attempted(call, gnp, x)
        # Some of NumPy's functions take an axis of a 0-d array, some of ours, others do not.
        either = not x.ndim and (found is None or wanted[name] is None)
        assert either or (found is None) == (wanted[name] is None), f"{name} of {x.shape}"
        if either or found is None:
            wanted[name] = None
            continue
        assert_same(found, wanted[name], f"{name} of {x.shape}")
    chosen = [name for name in order if wanted[name] is not None][:8]
    with np.errstate(all="ignore"):
        compiled = gl.jit(lambda x: [flat(CALLS[name](gnp, x)) for name in chosen])(x)
    for name, found in zip(chosen, compiled, strict=True):
        assert_same(found, wanted[name], f"compiled {name} of {x.shape}")


def assert_same(found, wanted, what):
    for got, want in zip(found or [], wanted or [], strict=True):
        assert np.shape(got) == want.shape, what
        assert np.asarray(got).dtype == want.dtype, what
        tolerance = 1e-12 if want.dtype == "float64" else 1e-5
        np.testing.assert_allclose(got, want, tolerance, tolerance, err_msg=what)
