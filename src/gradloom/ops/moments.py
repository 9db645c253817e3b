"""Statistics written with sums: variances, weighted means, covariances, histograms."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.ops.contract import matmul
from gradloom.ops.elementwise import astype, equal, sqrt
from gradloom.ops.elementwise import where as choose
from gradloom.ops.gather import SCATTER
from gradloom.ops.join import concatenate
from gradloom.ops.move import broadcast_to, expand_dims, reshape, transpose
from gradloom.ops.public import (
    as_operand,
    normal_axis,
    public,
    refuse_out,
    unknown_size,
    wrong_shape,
)
from gradloom.ops.reduce import SUM, counted, fold, max_, min_, sum_
from gradloom.ops.reduce import mean as mean_of


@public(np.ptp)
def ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Largest less smallest element over `axis`."""
    refuse_out(out, "ptp")
    return max_(a, axis, keepdims=keepdims) - min_(a, axis, keepdims=keepdims)


def _squares(deviation: Any) -> Any:
    """The square of each element's size."""
    if deviation.dtype.kind != "c":
        return deviation * deviation
    real, imag = FUNCTIONS["real"](deviation), FUNCTIONS["imag"](deviation)
    return real * real + imag * imag


@public(np.var)
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Variance over `axis`: the mean square deviation, in two passes.

    `correction` is the standard's name for `ddof`; `mean`, if known, has the axes kept.
    """
    refuse_out(out, "var")
    x = as_operand(a)
    if dtype is not None or x.dtype.kind in "biu":
        x = astype(x, dtype or "float64")
    centre = mean_of(x, axis, keepdims=True, where=where) if mean is None else mean
    count = counted(x, axis, where, keepdims)
    less = ddof if correction is None else correction
    total = fold(SUM, _squares(x - centre), axis, keepdims, where=where)
    if isinstance(count, int):
        return total / max(count - less, 0)
    return total / choose(count > less, count - less, 0)


@public(np.std)
def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Standard deviation over `axis`: the root of `var`."""
    refuse_out(out, "std")
    less = ddof if correction is None else correction
    return sqrt(var(a, axis, dtype, None, less, keepdims, where=where, mean=mean))


@public(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """Mean over `axis`, with `weights` of the shape of `a` or of those axes.

    With `returned`, the sum of the weights too.
    """
    x = as_operand(a)
    if weights is None:
        out = mean_of(x, axis, keepdims=keepdims)
        count = counted(x, axis, None) * 1.0
        return (
            (out, broadcast_to(np.asarray(count, out.dtype), tuple(out.shape))) if returned else out
        )
    w = _spread_weights(as_operand(weights), x, axis)
    # Promoted as NumPy does it: weights and elements of integers make float64.
    if x.dtype.kind in "biu":
        x = astype(x, "float64")
    scale = sum_(w, axis, keepdims=keepdims)
    out = sum_(x * w, axis, keepdims=keepdims) / scale
    return (out, broadcast_to(astype(scale, out.dtype), tuple(out.shape))) if returned else out


def _spread_weights(weights: Any, x: Any, axis: Any) -> Any:
    if tuple(weights.shape) == tuple(x.shape):
        return weights
    if axis is None:
        raise wrong_shape(
            f"weights of shape {tuple(weights.shape)} for {tuple(x.shape)}",
            "name the axis that they belong to",
        )
    given = axis if isinstance(axis, tuple | list) else (axis,)
    axes = [normal_axis(a, x.ndim) for a in given]
    if tuple(weights.shape) != tuple(x.shape[a] for a in axes):
        raise wrong_shape(
            f"weights of shape {tuple(weights.shape)} for axes {axes} of {tuple(x.shape)}",
            "give one weight an element of these axes",
        )
    ordered = transpose(weights, tuple(int(i) for i in np.argsort(axes)))
    wide = reshape(ordered, tuple(n if i in axes else 1 for i, n in enumerate(x.shape)))
    return broadcast_to(wide, tuple(x.shape))


@public(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: float | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """The covariances of variables, which are rows of `m` (and `y`), or columns if not `rowvar`.

    >>> import gradloom.numpy as gnp
    >>> gnp.cov([[0.0, 2.0], [0.0, 4.0]])
    array([[2., 4.],
           [4., 8.]])
    """
    rows = _variables(m, rowvar, dtype)
    if y is not None:
        rows = concatenate([rows, _variables(y, rowvar, dtype)], 0)
    less = (0 if bias else 1) if ddof is None else ddof
    weights = _product_of(fweights, aweights)
    if weights is None:
        centred = rows - mean_of(rows, 1, keepdims=True)
        scaled, count = centred, max(rows.shape[1] - less, 0)
    else:
        total = sum_(weights)
        centred = rows - expand_dims(matmul(rows, weights) / total, 1)
        scaled = centred * weights
        own = weights if aweights is None else weights * aweights
        count = total - less * (sum_(own) / total if aweights is not None else 1.0)
    conjugate = FUNCTIONS["conj"](scaled) if scaled.dtype.kind == "c" else scaled
    out = matmul(centred, transpose(conjugate)) / count
    return reshape(out, tuple(n for n in out.shape if n != 1))


def _variables(m: Any, rowvar: bool, dtype: Any) -> Any:
    x = as_operand(m)
    if x.ndim > 2:
        raise wrong_shape(f"cov of {x.ndim} dimensions", "give it a vector or a matrix")
    x = astype(x, dtype or ("complex128" if x.dtype.kind == "c" else "float64"))
    x = reshape(x, (1, x.size)) if x.ndim < 2 else x
    return x if rowvar or x.shape[0] == 1 else transpose(x)


def _product_of(fweights: Any, aweights: Any) -> Any:
    given = [astype(as_operand(w), "float64") for w in (fweights, aweights) if w is not None]
    if not given:
        return None
    return given[0] if len(given) == 1 else given[0] * given[1]


@public(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """The correlation coefficients of variables: `cov` scaled to a diagonal of ones."""
    c = cov(x, y, rowvar, dtype=dtype)
    if not c.ndim:
        return c / c
    variances = reshape(c, c.size)[:: c.shape[0] + 1]
    size = sqrt(FUNCTIONS["real"](variances) if c.dtype.kind == "c" else variances)
    out = c / size[:, None] / size[None, :]
    return out if out.dtype.kind == "c" else FUNCTIONS["clip"](out, -1.0, 1.0)


# ---- counting


@public(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:  # noqa: A002
    """The edges of `bins` equal bins over `range`, or from the least to the largest element."""
    if not isinstance(bins, int | np.integer):
        if isinstance(bins, str):
            raise wrong_shape(f"bins={bins!r} depend on the values", "say how many, or where")
        return as_operand(bins)
    x = as_operand(a)
    count = int(bins) + 1
    if range is not None:
        kind = np.result_type(*range, x.dtype)
        low, high = range
        if low == high:
            low, high = low - 0.5, high + 0.5
        return np.linspace(low, high, count, dtype=kind if kind.kind == "f" else "float64")
    if not x.size:
        return np.linspace(0.0, 1.0, count)
    low, high = min_(x) * 1.0, max_(x) * 1.0
    flat = equal(low, high)
    ends = choose(flat, low - 0.5, low), choose(flat, high + 0.5, high)
    return FUNCTIONS["linspace"](*ends, count)


@public(np.histogram)
def histogram(
    a: Any,
    bins: Any = 10,
    range: Any = None,  # noqa: A002
    density: bool | None = None,
    weights: Any = None,
) -> tuple[Any, Any]:
    """How many elements lie in each bin, and the edges; the last bin holds its right edge.

    The number of bins is a Python number; the edges may be traced.

    >>> import gradloom.numpy as gnp
    >>> gnp.histogram([1.0, 2.0, 2.5, 4.0], bins=3, range=(1, 4))[0]
    array([1, 2, 1])
    """
    x = reshape(as_operand(a), -1)
    edges = histogram_bin_edges(x, bins, range)
    w = None if weights is None else reshape(as_operand(weights), -1)
    inner = expand_dims(x, 0) < expand_dims(edges[:-1], 1)
    last = expand_dims(x, 0) <= edges[-1:, None]
    below = concatenate([inner, last], 0)
    before = sum_(below if w is None else choose(below, w, 0), 1)
    counts = before[1:] - before[:-1]
    if density:
        widths = edges[1:] - edges[:-1]
        return counts / widths / sum_(counts), edges
    return counts, edges


@public(np.bincount)
def bincount(x: Any, weights: Any = None, minlength: int = 0, *, length: int | None = None) -> Any:
    """How often each of the numbers 0, 1, ... occurs in `x`, or the sum of its weights.

    Of a traced `x`, `length` says how many numbers to count; those outside of them are left out.

    >>> import gradloom as gl, gradloom.numpy as gnp, numpy as np
    >>> gl.jit(lambda x: gnp.bincount(x, length=4))(np.array([3, 1, 1]))
    array([0, 2, 0, 1])
    """
    x = as_operand(x)
    if length is None:
        if isinstance(x, Tensor):
            raise unknown_size("bincount", "gnp.bincount(x, length=n)")
        length = max(int(np.max(x, initial=-1)) + 1, int(minlength))
    w = (
        np.ones(tuple(x.shape), "int64")
        if weights is None
        else astype(as_operand(weights), "float64")
    )
    inside = (x >= 0) & (x < length)
    at = choose(inside, x, length)
    flat, slots = reshape(w, w.size), reshape(at, at.size)
    return apply(SCATTER, flat, slots, axes=(0,), shape=(length + 1,))[:length]
