"""Complex numbers from their parts, and back.

Derivatives are JAX's: the gradient of a real function of z = x + iy is df/dx - i df/dy, and a rule
pulls cotangents back by the derivative itself, without conjugation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import FUNCTIONS
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import PART, WHOLE, TensorType
from gradloom.ops.move import broadcast_to
from gradloom.ops.public import as_operand, public
from gradloom.ops.row import broadcast_shape


def _joined(re: Any, im: Any) -> np.ndarray:
    """Not `re + 1j * im`, which makes NaN of an infinity."""
    out = np.empty(np.broadcast_shapes(np.shape(re), np.shape(im)), np.result_type(re, im, 0j))
    out.real, out.imag = re, im
    return out


REAL = define(
    Op(
        "real",
        Kind.ELEMENTWISE,
        lambda z: TensorType(z.shape, PART[z.dtype]),
        np.real,
        lambda g, out, z: (g,),
        accepts="complex",
        returns="real",
        linear=True,
        planar=lambda z: z[0],
    )
)
IMAG = define(
    Op(
        "imag",
        Kind.ELEMENTWISE,
        lambda z: TensorType(z.shape, PART[z.dtype]),
        np.imag,
        lambda g, out, z: (from_parts(0.0, -g),),
        accepts="complex",
        returns="real",
        linear=True,
        planar=lambda z: z[1],
    )
)
CONJUGATE = define(
    Op(
        "conjugate",
        Kind.ELEMENTWISE,
        lambda z: z,
        np.conjugate,
        lambda g, out, z: (conjugate(g),),
        accepts="complex",
        linear=True,
        planar=lambda z: (z[0], -z[1]),
    )
)
FROM_PARTS = define(
    Op(
        "from_parts",
        Kind.ELEMENTWISE,
        lambda re, im: TensorType(broadcast_shape(re.shape, im.shape), WHOLE[re.dtype]),
        _joined,
        lambda g, out, re, im: (real(g), -imag(g)),
        accepts="real",
        returns="complex",
        operands=2,
        linear=True,
        planar=lambda re, im: _spread(re, im),
    )
)


def _spread(re: Any, im: Any) -> tuple[Any, Any]:
    shape = broadcast_shape(re.shape, im.shape)
    return broadcast_to(re, shape), broadcast_to(im, shape)


def is_complex(x: Any) -> bool:
    """Whether an operand has a complex dtype."""
    return bool(x.dtype.kind == "c")


def squared(x: Any) -> Any:
    """`abs(x)**2`, without a root."""
    return real(x * conjugate(x))


def from_parts(re: Any, im: Any) -> Any:
    """`re + 1j * im` of real operands, exact also for infinities and signed zeros."""
    return apply(FROM_PARTS, re, im)


@public(np.real)
def real(val: Any) -> Any:
    """The real part; real values as they are."""
    x = as_operand(val)
    return apply(REAL, x) if is_complex(x) else x


@public(np.imag)
def imag(val: Any) -> Any:
    """The imaginary part; zeros of real values."""
    x = as_operand(val)
    return apply(IMAG, x) if is_complex(x) else FUNCTIONS["zeros_like"](x)


@public(np.conjugate)
def conjugate(x: Any) -> Any:
    """The conjugate, `real(x) - 1j * imag(x)`; real values as they are."""
    x = as_operand(x)
    if x.dtype == "bool":  # of which NumPy makes int8
        return FUNCTIONS["astype"](x, "int8")
    return apply(CONJUGATE, x) if is_complex(x) else x


public(name="conj")(conjugate)
