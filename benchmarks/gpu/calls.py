"""One contender whose functions are called again and again on arrays that stay on the GPU.

`python -m benchmarks.gpu.calls CORES CONTENDER PLACE` answers `chain N`, `product N FORM` and
`empty`, which prepare a function and say what it gave, and `time`, which calls it.

A contender has `place(array)`, which puts an array on the device, `wait(result)`, and those of
`chain()`, `product(form)` and `empty()`, which make functions of such arrays, that it is asked for.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contenders.checks import CannotError
from benchmarks.gpu import place as places
from benchmarks.rounds import TURN_SECONDS
from benchmarks.serving import serve

FORMS = ("float32", "tensorfloat32", "bfloat16")  # what operands of a product are rounded to
STEPS = 8  # of the chain


def chain_of(numpy: Any) -> Callable[[Any, Any], Any]:
    """Eight operations an element, of two arrays: nothing but memory."""

    def chain(x: Any, y: Any) -> Any:
        z = x * y + x
        z = numpy.maximum(z, y) - x * 0.5
        return z * z + y

    return chain


class Ours:
    """gradloom."""

    def __init__(self, place: str) -> None:
        self.device = places.of_ours(place)
        self.gl = importlib.import_module("gradloom")
        self.numpy = importlib.import_module("gradloom.numpy")

    def place(self, array: np.ndarray) -> Any:
        return self.gl.device_put(array, self.device)

    def chain(self) -> Any:
        return self.gl.jit(chain_of(self.numpy), device=self.device)

    def product(self, form: str) -> Any:
        return self.gl.jit(lambda a, b: a @ b, device=self.device, precision=form)

    def empty(self) -> Any:
        double = self.gl.jit(lambda x: x + x, device=self.device)
        return lambda x, _: double(x)

    def wait(self, result: Any) -> None:
        if self.device != "cpu":
            result.block_until_ready()


class Copy:
    """The driver's own copy within the device: what memory can do."""

    def __init__(self, place: str) -> None:
        if places.of_ours(place) == "cpu":
            raise CannotError("there is no driver on a CPU")
        self.device = importlib.import_module("gradloom.runtime.cuda.driver").device()

    def place(self, array: np.ndarray) -> int:
        at: int = self.device.allocate(array.nbytes)
        self.device.write(at, array)
        self.device.wait()
        self.nbytes = array.nbytes
        return at

    def chain(self) -> Any:
        def copied(x: int, y: int) -> int:
            self.device.copy(y, x, self.nbytes)
            return y

        return copied

    def wait(self, result: int) -> None:
        self.device.wait()


class Torch:
    """PyTorch, whose products are cuBLAS's."""

    compiles = False

    def __init__(self, place: str) -> None:
        self.torch = importlib.import_module("torch")
        self.device = places.of_torch(place)

    def place(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(array).to(self.device)

    def chain(self) -> Any:
        chain = chain_of(self.torch)
        return self.torch.compile(chain, dynamic=False) if self.compiles else chain

    def product(self, form: str) -> Any:
        self.torch.set_float32_matmul_precision("high" if form == "tensorfloat32" else "highest")
        if form != "bfloat16":
            return self.torch.matmul
        half = self.torch.bfloat16
        kept: list[Any] = []

        def multiplied(a: Any, b: Any) -> Any:
            """Of operands that are bfloat16 already: rounding them is not counted."""
            if not kept:
                kept.extend((a.to(half), b.to(half)))
            return self.torch.matmul(*kept)

        return multiplied

    def empty(self) -> Any:
        return lambda x, _: x + x

    def wait(self, result: Any) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()


class TorchCompiled(Torch):
    """PyTorch through its compiler."""

    compiles = True


class Jax:
    """JAX."""

    def __init__(self, place: str) -> None:
        self.jax = importlib.import_module("jax")

    def place(self, array: np.ndarray) -> Any:
        return self.jax.numpy.asarray(array)

    def chain(self) -> Any:
        return self.jax.jit(chain_of(self.jax.numpy))

    def empty(self) -> Any:
        double = self.jax.jit(lambda x: x + x)
        return lambda x, _: double(x)

    def wait(self, result: Any) -> None:
        self.jax.block_until_ready(result)


OURS, COPY, CUBLAS = "gradloom", "copy", "torch"
MAKERS: dict[str, Callable[[str], Any]] = {
    OURS: Ours,
    COPY: Copy,
    CUBLAS: Torch,
    "torch, compile": TorchCompiled,
    "jax": Jax,
}


class Calls:
    """A contender, and the function that it is asked to call."""

    def __init__(self, contender: str, place: str) -> None:
        self.made = MAKERS[contender](place)
        self.call: Callable[[], Any] = lambda: None
        self.repeats = 1

    def chain(self, n: str) -> dict[str, Any]:
        """Of two arrays of `n` numbers."""
        return self._prepare(self.made.chain(), (int(n),), (int(n),))

    def product(self, n: str, form: str) -> dict[str, Any]:
        """Of two matrices of `n` x `n`."""
        return self._prepare(self.made.product(form), (int(n), int(n)), (int(n), int(n)))

    def empty(self) -> dict[str, Any]:
        """One addition: what a call costs."""
        return self._prepare(self.made.empty(), (1,), (1,))

    def _prepare(self, function: Any, *shapes: tuple[int, ...]) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        drawn = [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]
        arrays = [self.made.place(array) for array in drawn]
        self.call = lambda: function(*arrays)
        self.repeats = 1
        start = time.perf_counter()
        result = self.call()
        self.made.wait(result)
        first = time.perf_counter() - start
        self._timed()
        self.repeats = max(1, round(TURN_SECONDS / max(self._timed(), 1e-7)))
        return {"first": first, "mean": self._mean(result)}

    def _mean(self, result: Any) -> float | None:
        """Of what was computed, to be compared."""
        if isinstance(result, int):
            return None
        if hasattr(result, "float"):  # PyTorch's, which NumPy may not know
            result = result.float().cpu()
        return float(np.mean(np.abs(np.asarray(result, "float64"))))

    def time(self) -> dict[str, Any]:
        """A turn: seconds of a call."""
        before = time.process_time()
        wall = self._timed()
        after = time.process_time()
        return {"wall": wall, "cpu": (after - before) / self.repeats, "before": before,
                "after": after}  # fmt: skip

    def _timed(self) -> float:
        start = time.perf_counter()
        result = None
        for _ in range(self.repeats):
            result = self.call()
        self.made.wait(result)
        return (time.perf_counter() - start) / self.repeats


if __name__ == "__main__":
    serve(lambda: Calls(*sys.argv[2:4]))
