"""The words of a driver, in plain Python: with these in its namespace a driver runs uncompiled.

Here a `ptr` is a one-dimensional uint8 NumPy view of memory. A table of addresses is a Python list
of such views. Compiled, the same functions become LLVM instructions (`runtime/build.py`).
Integers are int64 in compiled code and unbounded here: mask what may overflow.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ptr = NDArray[np.uint8]


def view(base: Ptr, offset: int) -> Ptr:
    """The memory of `base` from byte `offset` on."""
    return base[offset:]


def get(base: Ptr, index: int) -> int:
    """Word `index` of int64 memory, read from memory each time."""
    return int(base[8 * index : 8 * index + 8].view(np.int64)[0])


def put(base: Ptr, index: int, value: int) -> None:
    """Write `value` to word `index` of int64 memory."""
    base[8 * index : 8 * index + 8].view(np.int64)[0] = value


def get_ptr(table: list[Ptr], index: int) -> Ptr:
    """Address `index` of a table of addresses."""
    return table[index]


def copy(target: Ptr, target_byte: int, source: Ptr, source_byte: int, count: int) -> None:
    """Copy `count` bytes between regions that do not overlap."""
    target[target_byte : target_byte + count] = source[source_byte : source_byte + count]


def zero(base: Ptr, count: int) -> None:
    """Clear the first `count` bytes."""
    base[:count] = 0


# Name -> (function, result, arguments), in the types that a driver knows.
PRIMITIVES: dict[str, tuple[Callable[..., Any], str, tuple[str, ...]]] = {
    "view": (view, "ptr", ("ptr", "i64")),
    "get": (get, "i64", ("ptr", "i64")),
    "put": (put, "void", ("ptr", "i64", "i64")),
    "get_ptr": (get_ptr, "ptr", ("ptr", "i64")),
    "copy": (copy, "void", ("ptr", "i64", "ptr", "i64", "i64")),
    "zero": (zero, "void", ("ptr", "i64")),
}


def namespace() -> dict[str, Any]:
    """The names that a driver text may use besides its kernels."""
    return {name: row[0] for name, row in PRIMITIVES.items()}
