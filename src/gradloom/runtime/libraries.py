"""LAPACK by one thread while a program calls it.

A program splits its work itself.  OpenBLAS's own threads, which wait by spinning, would stand in
its team's way and in a busy neighbour's: beside two busy processes a triangular system of 64
equations with 256 right-hand sides took 23 ms by two of them, and 0.05 ms by one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

from gradloom.ops.lapack import bindings

_lock = Lock()
_inside = {"calls": 0, "threads": 0}


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenBLAS's thread count is 1 meanwhile, for the whole process, and then what it was."""
    found = _counts()
    if found is None:  # another library, whose threads are its own affair
        yield
        return
    get, put = found
    with _lock:
        if not _inside["calls"]:
            _inside["threads"] = get()
            put(1)
        _inside["calls"] += 1
    try:
        yield
    finally:
        with _lock:
            _inside["calls"] -= 1
            if not _inside["calls"]:
                put(_inside["threads"])


@cache
def _counts() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How the OpenBLAS that SciPy brings is asked for its thread count, and told it."""
    # Its names, and those of what it is linked with.
    library = ctypes.CDLL(bindings("lapack").__file__)
    for prefix in ("scipy_openblas", "openblas"):
        for suffix in ("", "64_"):
            try:
                get = getattr(library, f"{prefix}_get_num_threads{suffix}")
                put = getattr(library, f"{prefix}_set_num_threads{suffix}")
            except AttributeError:
                continue
            get.argtypes, get.restype, put.argtypes, put.restype = (
                (),
                ctypes.c_int,
                (ctypes.c_int,),
                None,
            )
            return get, put
    return None
