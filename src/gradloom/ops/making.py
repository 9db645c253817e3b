"""New arrays: of nested lists, of one value, in steps; traced where what they are made of is."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from gradloom.frontend.tensor import FUNCTIONS, Tensor, is_number
from gradloom.ops.composite import zeros_like
from gradloom.ops.elementwise import astype
from gradloom.ops.elementwise import where as choose
from gradloom.ops.join import stack
from gradloom.ops.move import broadcast_to, expand_dims, moveaxis, reshape
from gradloom.ops.public import as_operand, dtype_name, public, sizes_of, wrong_shape


def holds_traced(values: Any) -> bool:
    """Whether a traced value stands anywhere in nested lists."""
    return isinstance(values, Tensor) or (
        isinstance(values, list | tuple) and any(map(holds_traced, values))
    )


@public()
def array(object: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0) -> Any:  # noqa: A002
    """A new array of nested lists; with traced values among them, a traced one.

    >>> import gradloom as gl, gradloom.numpy as gnp
    >>> gl.jit(lambda a, b: gnp.array([[a, b], [b, a]]))(1.0, 2.0)
    array([[1., 2.],
           [2., 1.]])
    """
    values = object
    if not holds_traced(values):
        return np.array(values, dtype, copy=copy, ndmin=ndmin)
    made = Tensor(values.node) if isinstance(values, Tensor) else stack([array(v) for v in values])
    made = made if dtype is None else astype(made, dtype)
    return expand_dims(made, tuple(range(ndmin - made.ndim))) if ndmin > made.ndim else made


@public()
def asarray(a: Any, dtype: Any = None, *, copy: Any = None) -> Any:
    """`a` as it is if it is an array or traced, else an array of it."""
    if holds_traced(a):
        return array(a, dtype)
    return np.array(a, dtype) if copy else np.asarray(a, dtype)


for _name in ("asanyarray", "ascontiguousarray", "asfortranarray"):
    public(name=_name)(asarray)


@public(np.copy)
def copy(a: Any) -> Any:
    """`a` itself if it is traced, since nothing can change it; else a copy."""
    return a if isinstance(a, Tensor) else np.array(a)


@public()
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of one value, which may be traced."""
    if not isinstance(fill_value, Tensor):
        return np.full(shape, fill_value, None if dtype is None else dtype_name(dtype))
    return broadcast_to(fill_value if dtype is None else astype(fill_value, dtype), shape)


@public(np.empty_like)
def empty_like(prototype: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    """Zeros in the shape of `prototype`, or in another: nothing is left to chance."""
    return zeros_like(prototype, dtype, shape=shape)


@public(np.full_like)
def full_like(a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    """`fill_value`, which may be an array that fits, in the shape of `a`, or in another."""
    x = as_operand(a)
    value = astype(as_operand(fill_value), dtype or x.dtype)
    return broadcast_to(value, tuple(x.shape) if shape is None else sizes_of(shape))


# ---- in steps


@public(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` values in equal steps from `start` to `stop`, on a new axis.

    >>> import gradloom as gl, gradloom.numpy as gnp
    >>> gl.jit(lambda top: gnp.linspace(0.0, top, 3))(1.0)
    array([0. , 0.5, 1. ])
    """
    if not holds_traced([start, stop]):
        theirs: Any = np.linspace  # whose types know only Python's True
        return theirs(start, stop, num, endpoint, retstep, dtype, axis)
    low, high = _ends(start, stop)
    span = high - low
    parts = (num - 1) if endpoint else num
    steps = np.arange(num).astype(span.dtype) / (parts or 1)
    made = low + span * reshape(steps, (num, *(1,) * span.ndim))
    if endpoint and num > 1:  # the last is `stop` to the bit
        last = reshape(np.arange(num) == num - 1, (num, *(1,) * span.ndim))
        made = choose(last, high, made)
    out = moveaxis(made if dtype is None else astype(made, dtype), 0, axis)
    return (out, span / (parts or np.nan)) if retstep else out


def _ends(start: Any, stop: Any) -> tuple[Any, Any]:
    """Both ends in their common floating dtype, for which a Python number counts nothing."""
    given = [v if is_number(v) else asarray(v) for v in (start, stop)]
    kind = FUNCTIONS["result_type"](*given, 1.0)
    low, high = (astype(as_operand(v), kind) for v in given)
    return low, high


@public(np.logspace)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Powers of `base` whose exponents go in equal steps from `start` to `stop`."""
    if not holds_traced([start, stop, base]):
        return np.logspace(start, stop, num, endpoint, base, dtype, axis)
    out = FUNCTIONS["power"](base, linspace(start, stop, num, endpoint, axis=axis))
    return out if dtype is None else astype(out, dtype)


@public(np.geomspace)
def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` values from `start` to `stop`, each a constant multiple of the one before.

    Both ends have one sign.
    """
    if not holds_traced([start, stop]):
        return np.geomspace(start, stop, num, endpoint, dtype, axis)
    low, high = (astype(v, FUNCTIONS["result_type"](v, np.float64(1))) for v in _ends(start, stop))
    grown = FUNCTIONS["log"](high / low)
    share = linspace(grown * 0.0, grown, num, endpoint, axis=axis)
    out = expand_dims(low, axis) * FUNCTIONS["exp"](share)
    return out if dtype is None else astype(out, dtype)


@public(np.meshgrid)
def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    """The coordinates of a grid: every vector spread along the axes of all others."""
    if indexing not in ("xy", "ij"):
        raise wrong_shape(f"meshgrid indexing {indexing!r}", "use 'xy' or 'ij'")
    vectors = [reshape(as_operand(x), as_operand(x).size) for x in xi]
    swapped = indexing == "xy" and len(xi) > 1
    order = [1, 0, *range(2, len(xi))] if swapped else range(len(xi))
    place = list(order)
    whole = tuple(vectors[i].shape[0] for i in place)
    spread = tuple(
        reshape(v, tuple(v.shape[0] if p == i else 1 for p in place)) for i, v in enumerate(vectors)
    )
    return spread if sparse else tuple(broadcast_to(v, whole) for v in spread)


@public(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803
    """Powers of a vector as columns, the highest first unless `increasing`."""
    column = expand_dims(as_operand(x), 1)
    if column.ndim != 2:
        raise wrong_shape(f"vander of {column.ndim - 1} dimensions", "it takes a vector")
    count = column.shape[0] if N is None else N
    column = astype(column, np.promote_types(column.dtype, "int64"))
    return _powers(column, range(count) if increasing else range(count)[::-1])


def _powers(column: Any, exponents: range) -> Any:
    """Products, whose derivatives are finite at 0 too."""
    if not len(exponents):
        return broadcast_to(column[:, :0], (column.shape[0], 0))
    found = [column * 0 + 1]
    for _ in range(1, len(exponents)):
        found.append(found[-1] * column)
    return FUNCTIONS["concatenate"]([found[e] for e in exponents], 1)


# ---- NumPy's functions of numbers that are known


def _static(name: str, doc: str) -> None:
    theirs = getattr(np, name)

    @functools.wraps(theirs)
    def function(*args: Any, **kwargs: Any) -> Any:
        if any(map(holds_traced, (*args, *kwargs.values()))):
            raise wrong_shape(
                f"gnp.{name} of a traced value", "give it Python numbers: they make the shape"
            )
        return theirs(*args, **kwargs)

    function.__doc__ = doc
    public(theirs)(function)


_static("indices", "The indices of every element of a shape, one array an axis.")
_static("tril_indices", "The indices of the lower triangle of a matrix of `n` rows.")
_static("triu_indices", "The indices of the upper triangle of a matrix of `n` rows.")
_static("diag_indices", "The indices of the main diagonal of a square of `n` rows.")
_static("mask_indices", "The indices that a function of masks, such as `triu`, leaves.")


@public(np.diag_indices_from)
def diag_indices_from(arr: Any) -> tuple[np.ndarray, ...]:
    """The indices of the main diagonal of `arr`, whose axes are equally long."""
    sizes = tuple(as_operand(arr).shape)
    if len(sizes) < 2 or len(set(sizes)) != 1:
        raise wrong_shape(
            f"the diagonal of {sizes}", "all its axes must be equally long, two at least"
        )
    return np.diag_indices(sizes[0], len(sizes))


@public(np.tril_indices_from)
def tril_indices_from(arr: Any, k: int = 0) -> tuple[np.ndarray, ...]:
    """The indices of the lower triangle of a matrix."""
    rows, columns = as_operand(arr).shape
    return np.tril_indices(rows, k, columns)


@public(np.triu_indices_from)
def triu_indices_from(arr: Any, k: int = 0) -> tuple[np.ndarray, ...]:
    """The indices of the upper triangle of a matrix."""
    rows, columns = as_operand(arr).shape
    return np.triu_indices(rows, k, columns)


@public(np.ix_, name="ix_")
def ix_(*args: Any) -> tuple[Any, ...]:
    """Vectors of indices, each along an axis of its own; masks become indices if they are known."""
    made = []
    for i, arg in enumerate(args):
        vector = as_operand(arg)
        if vector.ndim != 1:
            raise wrong_shape(f"ix_ of {vector.ndim} dimensions", "it takes vectors")
        if vector.dtype == bool:
            (vector,) = FUNCTIONS["nonzero"](vector)
        made.append(reshape(vector, tuple(vector.size if j == i else 1 for j in range(len(args)))))
    return tuple(made)


@public(np.ravel_multi_index)
def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Any:
    """Indices an axis as one index into all elements in a row.

    Of traced indices, "raise" leaves those that are out of range as they are.
    """
    if not holds_traced(tuple(multi_index) if not isinstance(multi_index, Tensor) else multi_index):
        return np.ravel_multi_index(multi_index, dims, mode, order)  # type: ignore[call-overload]
    sizes = sizes_of(dims)
    modes = (mode,) * len(sizes) if isinstance(mode, str) else tuple(mode)
    axes = range(len(sizes)) if order == "C" else range(len(sizes))[::-1]
    parts = list(multi_index)
    out: Any = 0
    for axis in axes:
        index, size = parts[axis], sizes[axis]
        if modes[axis] == "wrap":
            index = index % size
        elif modes[axis] == "clip":
            index = FUNCTIONS["clip"](index, 0, size - 1)
        out = out * size + index
    return out


@public(np.unravel_index)
def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Any, ...]:
    """Indices into all elements in a row as one index an axis."""
    if not holds_traced(indices):
        return np.unravel_index(indices, shape, order)  # type: ignore[call-overload]
    sizes = sizes_of(shape)
    rest = asarray(indices)
    found = []
    for size in sizes if order == "F" else sizes[::-1]:
        found.append(rest % size)
        rest = rest // size
    return tuple(found if order == "F" else found[::-1])
