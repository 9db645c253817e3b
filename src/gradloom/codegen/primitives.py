"""The words of a driver, in plain Python: with these in its namespace a driver runs uncompiled.

Here a `ptr` is a one-dimensional uint8 NumPy view of memory. A table of addresses is a Python list
of such views. Compiled, the same functions become LLVM instructions (`runtime/emitters.py`).
Integers are int64 in compiled code and unbounded here: mask what may overflow.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.ir.types import ITEMSIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray  # 1.2 ms of a start

    Ptr = NDArray[np.uint8]


def view(base: Ptr, offset: int) -> Ptr:
    """The memory of `base` from byte `offset` on; a negative one lies in front of it, where nobody
    reads or writes."""
    if offset >= 0:
        return base[offset:]
    start = base.__array_interface__["data"][0] + offset
    return np.ctypeslib.as_array((ctypes.c_uint8 * (base.size - offset)).from_address(start))


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


# ---- the team of threads that runs a driver: worker 0 ... team - 1

# Words of `control` on cache lines of their own (two lines apart, since processors fetch pairs):
# how many have arrived at the barrier, how often all have, and how often to look before yielding.
ARRIVED, GENERATION, SPINS = 16, 32, 33
_arriving = threading.Lock()


def cut(worker: int, team: int) -> int:
    """Where a worker's part begins, in 2^-32 of the whole; `cut(worker + 1, team)` is its end."""
    return ((worker << 32) + team - 1) // team


def share(extent: int, grain: int, at: int) -> int:
    """The iteration of `extent` at a `cut`: whole grains, or the end.  No division, so it costs
    nothing beside a call of a kernel."""
    return min((-(-extent // grain) * at >> 32) * grain, extent)


def meet(control: Ptr, team: int) -> None:
    """A barrier: nobody goes on until all of the team are here, and all see what each has written.

    Compiled, one that waits looks a bounded number of times and then yields to the system.
    """
    if team == 1:
        return
    with _arriving:
        now = get(control, GENERATION)
        arrived = (get(control, ARRIVED) + 1) % team
        put(control, ARRIVED, arrived)
        if arrived == 0:
            put(control, GENERATION, now + 1)
    while get(control, GENERATION) == now:
        time.sleep(0)


# ---- the processor's mode


def begin_flushing() -> int:
    """From here on this thread takes denormal numbers for zeros, and makes zeros of them; the mode
    that was before.  Uncompiled, where NumPy does the arithmetic, they stay what they are."""
    return 0


def end_flushing(mode: int) -> None:
    """Back to the mode that was before."""


# ---- numbers of arrays: an element of any dtype is an int64 or a float64 while it is worked with


def _load(dtype: str) -> Callable[[Ptr, int], int | float]:
    kind, size = np.dtype(dtype), ITEMSIZE[dtype]

    def load(base: Ptr, index: int) -> int | float:
        number = base[size * index : size * index + size].view(kind)[0]
        return float(number) if kind.kind == "f" else int(number.astype(np.int64))

    return load


def _store(dtype: str) -> Callable[[Ptr, int, int | float], None]:
    kind, size = np.dtype(dtype), ITEMSIZE[dtype]

    def store(base: Ptr, index: int, value: int | float) -> None:
        number = np.float64(value) if kind.kind == "f" else np.int64(value)
        base[size * index : size * index + size].view(kind)[0] = number.astype(kind)

    return store


def _invoke(count: int) -> Callable[..., None]:
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * count)

    def invoke(address: int, *pointers: Ptr) -> None:
        kind(address)(*(p.__array_interface__["data"][0] for p in pointers))

    return invoke


def _mathematics(name: str) -> Callable[[float], float]:
    """NumPy's function, which gives what C's gives also where Python's raises an error."""
    function = getattr(np, name.removeprefix("math_"))
    return lambda x: float(function(x))


Rows = dict[str, tuple[Callable[..., Any], str, tuple[str, ...]]]
MOST_POINTERS = 24  # of a function that is called by its address
MATHEMATICS = ("math_exp", "math_log", "math_log1p")  # "math_" and the name in C and NumPy


def _typed() -> Rows:
    rows: Rows = {}
    for dtype in ITEMSIZE:
        word = "f64" if np.dtype(dtype).kind == "f" else "i64"
        rows[f"load_{dtype}"] = _load(dtype), word, ("ptr", "i64")
        rows[f"store_{dtype}"] = _store(dtype), "void", ("ptr", "i64", word)
    for count in range(1, MOST_POINTERS + 1):
        rows[f"invoke_{count}"] = _invoke(count), "void", ("i64", *["ptr"] * count)
    for name in MATHEMATICS:
        rows[name] = _mathematics(name), "f64", ("f64",)
    return rows


# The words that every driver may use; routines use those of `_typed` too.
WORDS: Rows = {
    "view": (view, "ptr", ("ptr", "i64")),
    "get": (get, "i64", ("ptr", "i64")),
    "put": (put, "void", ("ptr", "i64", "i64")),
    "get_ptr": (get_ptr, "ptr", ("ptr", "i64")),
    "copy": (copy, "void", ("ptr", "i64", "ptr", "i64", "i64")),
    "zero": (zero, "void", ("ptr", "i64")),
    "cut": (cut, "i64", ("i64", "i64")),
    "share": (share, "i64", ("i64", "i64", "i64")),
    "meet": (meet, "void", ("ptr", "i64")),
}
# Those of a driver that flushes denormal numbers.
MODES: Rows = {
    "begin_flushing": (begin_flushing, "i64", ()),
    "end_flushing": (end_flushing, "void", ("i64",)),
}
# Name -> (function, result, arguments), in the types that a driver knows.
PRIMITIVES: Rows = {**WORDS, **MODES, **_typed()}

globals().update({name: row[0] for name, row in PRIMITIVES.items()})  # for `import`


def namespace() -> dict[str, Any]:
    """The names that a driver text may use besides its kernels."""
    return {name: row[0] for name, row in PRIMITIVES.items()}
