"""Functions of the complex plane that are written with the rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.tensor import Tensor
from gradloom.ops.complex import conjugate, from_parts, imag, is_complex
from gradloom.ops.contract import contract
from gradloom.ops.elementwise import log
from gradloom.ops.move import reshape
from gradloom.ops.public import as_operand, public


@public(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """The angle from the positive real axis, from -pi to pi; in degrees with `deg`.

    >>> import gradloom.numpy as gnp
    >>> float(gnp.angle(-1.0 + 0j)) == gnp.pi
    True
    """
    z = as_operand(z)
    if not isinstance(z, Tensor):
        return np.angle(z, deg)
    turn = imag(log(z if is_complex(z) else from_parts(z, 0.0)))
    return turn * (180 / np.pi) if deg else turn


@public(np.isreal)
def isreal(x: Any) -> Any:
    """Whether an element has no imaginary part."""
    x = as_operand(x)
    return imag(x) == 0


@public(np.iscomplex)
def iscomplex(x: Any) -> Any:
    """Whether an element has an imaginary part."""
    x = as_operand(x)
    return imag(x) != 0


@public(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    """Sum of the products of the elements of `b` with the conjugates of those of `a`.

    >>> import gradloom.numpy as gnp
    >>> complex(gnp.vdot([1j, 2.0], [1j, 1.0]))
    (3+0j)
    """
    x, y = as_operand(a), as_operand(b)
    return contract(conjugate(reshape(x, -1)), reshape(y, -1), "a", "a", "")
