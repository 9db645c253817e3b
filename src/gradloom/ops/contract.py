"""The one product: two operands, summed over the labels that they share and the result lacks.

`matmul`, `tensordot`, `einsum` and all their derivatives are this row with other labels; a
transpose of an operand is a permutation of its labels, so it costs nothing.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import FUNCTIONS
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import TensorType
from gradloom.ops import planar_folds
from gradloom.ops.elementwise import astype
from gradloom.ops.move import expand_dims, moveaxis, reshape
from gradloom.ops.public import as_operand, normal_axis, public, refuse_out, wrong_shape
from gradloom.ops.reduce import sum_


def _sizes(labels: tuple[str, ...], types: tuple[Any, ...]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term, kind in zip(labels, types, strict=True):
        for label, size in zip(term, kind.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise wrong_shape(
                    f"axis {label!r} has size {sizes[label]} in one operand and {size} in the"
                    f" other, in {','.join(labels)} of {types[0].shape} and {types[1].shape}",
                    "transpose or reshape one of them",
                )
    return sizes


def _infer(x: TensorType, y: TensorType, left: str, right: str, result: str) -> TensorType:
    sizes = _sizes((left, right), (x, y))
    return TensorType(tuple(sizes[label] for label in result), x.dtype)


def _reference(x: Any, y: Any, left: str, right: str, result: str) -> np.ndarray:
    dtype = np.result_type(x, y)
    if len(left) == len(right) == 2 and left[1] == right[0] and result == left[0] + right[1]:
        return np.asarray(x, dtype) @ np.asarray(y, dtype)
    fast = dtype.kind in "fc"  # BLAS where there is one
    return np.einsum(f"{left},{right}->{result}", x, y, dtype=dtype, optimize=fast)


def _vjp(g: Any, out: Any, x: Any, y: Any, left: str, right: str, result: str) -> tuple[Any, Any]:
    return contract(g, y, result, right, left), contract(x, g, left, result, right)


def _samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-2, 2, shape).astype(dtype)

    return [
        ((draw(3, 4), draw(4, 5)), {"left": "ab", "right": "bc", "result": "ac"}),
        ((draw(3, 4), draw(5, 4)), {"left": "ab", "right": "cb", "result": "ca"}),
        ((draw(2, 3, 4), draw(2, 4, 5)), {"left": "abc", "right": "acd", "result": "abd"}),
        ((draw(2, 3, 4), draw(4, 3, 2)), {"left": "abc", "right": "cbd", "result": "da"}),
        ((draw(4), draw(5)), {"left": "a", "right": "b", "result": "ab"}),
        ((draw(4), draw(4)), {"left": "a", "right": "a", "result": ""}),
    ]


CONTRACT = define(
    Op(
        "contract",
        Kind.CONTRACT,
        _infer,
        _reference,
        _vjp,
        cost=2,
        operands=2,
        factors=("multiply", "sum"),
        planar=planar_folds.contract,
        samples=_samples,
    )
)


def contract(x: Any, y: Any, left: str, right: str, out: str) -> Any:
    """`einsum(f"{left},{right}->{out}")`, for labels unique within each operand.

    Labels that stand in one operand only are summed there first.
    """
    x, y = as_operand(x), as_operand(y)
    if x.dtype == bool and y.dtype == bool:  # NumPy's sum of booleans is "or"
        return contract(astype(x, "int64"), y, left, right, out) != 0
    x, left = presum(x, left, right + out)
    y, right = presum(y, right, left + out)
    return apply(CONTRACT, x, y, **_canonical(left, right, out))


def presum(x: Any, term: str, elsewhere: str) -> tuple[Any, str]:
    """`x` summed over the labels that stand nowhere else, and the labels that are left."""
    alone = tuple(i for i, label in enumerate(term) if label not in elsewhere)
    if not alone:
        return x, term
    return sum_(x, alone), "".join(label for label in term if label in elsewhere)


def _canonical(left: str, right: str, out: str) -> dict[str, str]:
    """Labels renamed in order of appearance, so that equal products are one node."""
    seen = dict.fromkeys(left + right)
    names = dict(zip(seen, string.ascii_letters, strict=False))
    terms = {"left": left, "right": right, "result": out}
    return {key: "".join(names[label] for label in term) for key, term in terms.items()}


@public(np.matmul)
def matmul(x1: Any, x2: Any, /) -> Any:
    """Matrix product with NumPy's rules: batches broadcast, 1-d operands are vectors.

    >>> import gradloom.numpy as gnp
    >>> gnp.matmul([[1.0, 2.0]], [[3.0], [4.0]])
    array([[11.]])
    """
    x, y = as_operand(x1), as_operand(x2)
    if not x.ndim or not y.ndim:
        raise wrong_shape("matmul needs operands of one dimension or more", "use * for scalars")
    a = expand_dims(x, 0) if x.ndim == 1 else x
    b = expand_dims(y, 1) if y.ndim == 1 else y
    if a.shape[-1] != b.shape[-2]:
        raise wrong_shape(
            f"matmul of {tuple(x.shape)} and {tuple(y.shape)}: the inner sizes"
            f" {a.shape[-1]} and {b.shape[-2]} differ",
            "the last axis of the left must match the last but one of the right; transpose one",
        )
    out = _matrices(a, b)
    if x.ndim == 1:
        out = reshape(out, (*out.shape[:-2], out.shape[-1]))
    return reshape(out, out.shape[:-1]) if y.ndim == 1 else out


def _matrices(a: Any, b: Any) -> Any:
    """Batched product; a batch axis of size one in an operand is dropped, not copied."""
    batch = _batch_shape(a, b)
    names = string.ascii_letters[: len(batch)]
    a, left = _drop_unit_batches(a, names, batch)
    b, right = _drop_unit_batches(b, names, batch)
    out = "".join(n for n in names if n in left or n in right)
    made = contract(a, b, left + "YK", right + "KZ", out + "YZ")
    return reshape(made, (*batch, *made.shape[-2:])) if len(out) < len(batch) else made


def _batch_shape(a: Any, b: Any) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    except ValueError:
        raise wrong_shape(
            f"matmul of {tuple(a.shape)} and {tuple(b.shape)}: the batch axes do not broadcast",
            "leading sizes must agree from the right, or be 1",
        ) from None


def _drop_unit_batches(x: Any, names: str, batch: tuple[int, ...]) -> tuple[Any, str]:
    own = names[len(batch) - (x.ndim - 2) :]
    kept = [(n, size) for n, size in zip(own, x.shape, strict=False) if size != 1]
    if len(kept) < len(own):
        x = reshape(x, (*(size for _, size in kept), *x.shape[-2:]))
    return x, "".join(n for n, _ in kept)


@public(np.dot)
def dot(a: Any, b: Any, out: None = None) -> Any:
    """NumPy's dot: products of vectors and matrices; sums over the last axis of `a`."""
    refuse_out(out, "dot")
    x, y = as_operand(a), as_operand(b)
    if not x.ndim or not y.ndim:
        return x * y
    return tensordot(x, y, ([x.ndim - 1], [max(y.ndim - 2, 0)]))


@public(np.outer)
def outer(a: Any, b: Any, out: None = None) -> Any:
    """All products of an element of `a` and one of `b`."""
    refuse_out(out, "outer")
    x, y = as_operand(a), as_operand(b)
    return contract(reshape(x, x.size), reshape(y, y.size), "a", "b", "ab")


@public(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sum of products over pairs of axes, or over the last and first `axes` axes."""
    x, y = as_operand(a), as_operand(b)
    if isinstance(axes, int | np.integer):
        left_axes, right_axes = list(range(x.ndim - axes, x.ndim)), list(range(axes))
    else:
        left_axes, right_axes = ([i] if isinstance(i, int) else list(i) for i in axes)
    of_x = [normal_axis(i, x.ndim) for i in left_axes]
    of_y = [normal_axis(i, y.ndim) for i in right_axes]
    if len(of_x) != len(of_y):
        raise wrong_shape(f"axes {axes} do not pair up", "name as many axes of each operand")
    left = string.ascii_lowercase[: x.ndim]
    right = list(string.ascii_uppercase[: y.ndim])
    for i, j in zip(of_x, of_y, strict=True):
        right[j] = left[i]
    out = [n for i, n in enumerate(left) if i not in of_x]
    out += [n for j, n in enumerate(right) if j not in of_y]
    return contract(x, y, left, "".join(right), "".join(out))


@public(np.inner)
def inner(a: Any, b: Any, /) -> Any:
    """Sums of products over the last axes."""
    x, y = as_operand(a), as_operand(b)
    if not x.ndim or not y.ndim:
        return x * y
    return tensordot(x, y, ([x.ndim - 1], [y.ndim - 1]))


def _conjugate(x: Any) -> Any:
    return FUNCTIONS["conj"](x) if x.dtype.kind == "c" else x


@public(np.vecdot)
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Sums of products over one axis, the others broadcast; `x1` is conjugated."""
    x, y = moveaxis(x1, axis, -1), moveaxis(x2, axis, -1)
    if x.shape[-1] != y.shape[-1]:
        raise wrong_shape(
            f"vecdot of {tuple(x.shape)} and {tuple(y.shape)} over axis {axis}",
            "the sizes of that axis must be equal",
        )
    product = matmul(expand_dims(_conjugate(x), -2), expand_dims(y, -1))
    return reshape(product, tuple(product.shape[:-2]))


@public(np.matvec)
def matvec(x1: Any, x2: Any, /) -> Any:
    """Products of matrices and vectors, which broadcast."""
    product = matmul(x1, expand_dims(x2, -1))
    return reshape(product, tuple(product.shape[:-1]))


@public(np.vecmat)
def vecmat(x1: Any, x2: Any, /) -> Any:
    """Products of vectors, which are conjugated, and matrices; both broadcast."""
    product = matmul(expand_dims(_conjugate(as_operand(x1)), -2), x2)
    return reshape(product, (*product.shape[:-2], product.shape[-1]))
