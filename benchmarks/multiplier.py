"""One contender of `products` in a process of its own.

`python -m benchmarks.multiplier CORE,CORE CONTENDER DTYPE THREADS` answers `prepare M K N FORM` and
`time`.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and sys.argv[1]:
    # Before any library counts the cores.
    os.sched_setaffinity(0, {int(core) for core in sys.argv[1].split(",")})

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.rounds import Runner, filling
from benchmarks.serving import serve

Array = np.ndarray
FLOPS = 4e7  # of a pass: beside it a call from Python, some 15 us, counts for little
MOST_PAIRS = 256  # of the smallest operands, which are 3 MB then


class Multiplier:
    """Pairs of operands, and somebody's product."""

    def __init__(self, contender: str, dtype: str, threads: str) -> None:
        self.make = MAKERS[contender]
        self.dtype, self.threads = dtype, int(threads)
        self.runner, self.turn, self.pairs = Runner(lambda: None), (1, 1), 1

    def prepare(self, rows: str, depth: str, columns: str, form: str) -> dict[str, Any]:
        """Operands stored as `form` says, and the sum of all products, to be compared."""
        m, k, n = map(int, (rows, depth, columns))
        self.pairs = round(min(MOST_PAIRS, max(2, FLOPS / (2 * m * k * n))))
        rng = np.random.default_rng(0)
        a = rng.standard_normal((self.pairs, *((k, m) if form[0] == "t" else (m, k))), "float32")
        b = rng.standard_normal((self.pairs, *((n, k) if form[1] == "t" else (k, n))), "float32")
        run = self.make(a.astype(self.dtype), b.astype(self.dtype), form, self.threads)
        self.runner = Runner(run)
        result = [np.asarray(c, "float64") for c in run()]
        self.turn = filling(self.runner)
        # By a ufunc: a norm is a product of BLAS, whose threads go on looking for work for 25 ms.
        return {"sizes": [float(np.sqrt(np.sum(np.square(c)))) for c in result]}

    def time(self) -> dict[str, Any]:
        """A turn: seconds of a product."""
        before = time.process_time()
        wall, cpu = self.runner.timed(*self.turn)
        found = {"wall": wall / self.pairs, "cpu": cpu / self.pairs}
        return {**found, "before": before, "after": time.process_time()}


def _turned(a: Any, b: Any, form: str) -> tuple[Any, Any]:
    return (a.T if form[0] == "t" else a), (b.T if form[1] == "t" else b)


def gradloom_kernel(a: Array, b: Array, form: str, threads: int) -> Callable[[], Any]:
    """A native loop over all pairs, which keeps every product."""
    import gradloom as gl

    def each(carry: Any, pair: Any) -> Any:
        left, right = _turned(*pair, form)
        return carry, left @ right

    many = gl.jit(lambda a, b: gl.scan(each, 0.0, (a, b))[1], threads=threads)
    return lambda: many(a, b)


def gradloom_call(a: Array, b: Array, form: str, threads: int) -> Callable[[], Any]:
    """A call from Python for each pair, which makes the result."""
    import gradloom as gl

    def product(a: Any, b: Any) -> Any:
        left, right = _turned(a, b, form)
        return left @ right

    one = gl.jit(product, threads=threads)
    pairs = list(zip(a, b, strict=True))
    return lambda: [one(*pair) for pair in pairs]


def numpy_out(a: Array, b: Array, form: str, threads: int) -> Callable[[], Any]:
    """`np.matmul(a, b, out=c)`; the number of threads is the environment's."""
    pairs = [_turned(*pair, form) for pair in zip(a, b, strict=True)]
    results = [np.empty((x.shape[0], y.shape[1]), x.dtype) for x, y in pairs]

    def run() -> list[Array]:
        for (x, y), c in zip(pairs, results, strict=True):
            np.matmul(x, y, out=c)
        return results

    return run


def torch_out(a: Array, b: Array, form: str, threads: int) -> Callable[[], Any]:
    """`torch.mm(a, b, out=c)`."""
    import torch

    torch.set_num_threads(threads)
    given = zip(torch.from_numpy(a), torch.from_numpy(b), strict=True)
    pairs = [_turned(*pair, form) for pair in given]
    results = [torch.empty((x.shape[0], y.shape[1]), dtype=x.dtype) for x, y in pairs]

    def run() -> list[Any]:
        for (x, y), c in zip(pairs, results, strict=True):
            torch.mm(x, y, out=c)
        return results

    return run


MAKERS: dict[str, Callable[[Array, Array, str, int], Callable[[], Any]]] = {
    "gradloom, kernel": gradloom_kernel,
    "gradloom, call": gradloom_call,
    "numpy": numpy_out,
    "torch": torch_out,
}

if __name__ == "__main__":
    serve(lambda: Multiplier(*sys.argv[2:5]))
