"""Every float32, or every so-many-th, through the compiled functions, against double precision.

python -m tests.sweep                     # all functions, a four-thousandth of the numbers
python -m tests.sweep --function tanh     # one
python -m tests.sweep --function tanh --all   # of all 2**32 numbers: minutes
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special as theirs

import gradloom as gl
import gradloom.numpy as gnp
from gradloom import special
from tests.ops.test_scalar import ulps

BLOCK = 1 << 20
STRIDE = 4093  # prime, so that the low bits vary
WHOLE = 1 << 32
_NUMPYS = (
    *("arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "cos", "cosh", "exp"),
    *("exp2", "expm1", "log", "log10", "log1p", "log2", "sin", "sinh", "sqrt", "tan", "tanh"),
)
_SCIPYS = (
    *("erf", "expit", "erfc", "erfcx", "ndtr", "log_ndtr", "erfinv", "erfcinv", "ndtri", "gamma"),
    *("gammaln", "digamma", "i0", "i0e", "i1", "i1e"),
)
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    **{name: (getattr(gnp, name), getattr(np, name)) for name in _NUMPYS},
    **{name: (getattr(special, name), getattr(theirs, name)) for name in _SCIPYS},
    "softplus": (gnp.softplus, lambda x: np.logaddexp(x, 0)),
    "rsqrt": (gnp.rsqrt, lambda x: 1 / np.sqrt(x)),
}


@dataclass
class Worst:
    """The largest error that was found, in units in the last place, and its place."""

    ulps: float = 0.0
    at: float = 0.0
    got: float = 0.0
    wanted: float = 0.0
    count: int = 0

    def __str__(self) -> str:
        place = f"at {self.at!r}: {self.got!r}, not {self.wanted!r}"
        return f"{self.ulps:8.3f} ULP of {self.count} numbers, {place}"


def blocks(stride: int) -> Iterator[np.ndarray]:
    """Bit patterns 0, stride, 2 * stride, ... as float32, in arrays of one length."""
    for start in range(0, WHOLE, BLOCK * stride):
        bits = start + stride * np.arange(BLOCK, dtype="int64")
        yield np.minimum(bits, WHOLE - 1).astype("uint32").view("float32")


def sweep(name: str, stride: int) -> Worst:
    """The worst of a function over every `stride`-th float32."""
    ours, double = FUNCTIONS[name]
    compiled, worst = gl.jit(ours), Worst()
    for x in blocks(stride):
        with np.errstate(all="ignore"):
            wanted = double(x.astype("float64"))
        got = compiled(x)
        distance = ulps(got, wanted)
        k = int(np.argmax(distance))
        worst.count += x.size
        if distance[k] > worst.ulps:
            place = (float(distance[k]), float(x[k]), float(got[k]), float(wanted[k]))
            worst.ulps, worst.at, worst.got, worst.wanted = place
    return worst


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--function", action="append", choices=sorted(FUNCTIONS))
    parser.add_argument("--all", action="store_true", help="all 2**32 numbers")
    parser.add_argument("--stride", type=int, default=STRIDE, help="every so-many-th number")
    options = parser.parse_args(arguments)
    for name in options.function or sorted(FUNCTIONS):
        start = time.perf_counter()
        worst = sweep(name, 1 if options.all else options.stride)
        print(f"{name:10s} {worst}  ({time.perf_counter() - start:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
