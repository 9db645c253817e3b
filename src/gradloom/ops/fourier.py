"""The discrete Fourier transform of pairs of real numbers: the row below `gradloom.numpy.fft`.

A value of shape (..., n, 2) holds n complex numbers, real and imaginary parts side by side, as
NumPy lays out a complex array.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.routine import Code
from gradloom.ir.types import ITEMSIZE, TensorType
from gradloom.ops.factor import batching
from gradloom.ops.lapack import hidden

# A prime factor of a size costs its square; beyond this one the transform becomes a convolution of
# at least twice the size, which is a power of two [Bluestein, A linear filtering approach to the
# computation of discrete Fourier transform, 1970].
LARGEST_PRIME = 31

# Stockham's ordering, by which no pass need sort, for any mixture of factors [Cooley and Tukey, An
# algorithm for the machine calculation of complex Fourier series, 1965; Van Loan, Computational
# frameworks for the fast Fourier transform, 1992, 1.7].  After passes whose factors have the
# product `done`, `left` remain: element q + done * (p + left * k) of the operand is the k-th point
# of a transform of `radix` points, whose j-th result goes to q + done * (radix * p + j), times the
# (done * j * p)-th of the n roots of unity in `roots`.
PASS_2 = """\
def routine_pass_2_{dtype}(done, left, x, y, roots):
    half = 2 * done * left
    for p in range(left):
        c = load_float64(roots, 2 * done * p)
        s = load_float64(roots, 2 * done * p + 1)
        at = 2 * done * p
        to = 4 * done * p
        for q in range(0, 2 * done, 2):
            ar = load_{dtype}(x, at + q)
            ai = load_{dtype}(x, at + q + 1)
            br = load_{dtype}(x, at + q + half)
            bi = load_{dtype}(x, at + q + half + 1)
            store_{dtype}(y, to + q, ar + br)
            store_{dtype}(y, to + q + 1, ai + bi)
            br = ar - br
            bi = ai - bi
            store_{dtype}(y, to + q + 2 * done, br * c - bi * s)
            store_{dtype}(y, to + q + 2 * done + 1, br * s + bi * c)
"""

PASS_4 = """\
def routine_pass_4_{dtype}(done, left, x, y, roots):
    step = 2 * done * left
    for p in range(left):
        c1 = load_float64(roots, 2 * done * p)
        s1 = load_float64(roots, 2 * done * p + 1)
        c2 = load_float64(roots, 4 * done * p)
        s2 = load_float64(roots, 4 * done * p + 1)
        c3 = load_float64(roots, 6 * done * p)
        s3 = load_float64(roots, 6 * done * p + 1)
        for q in range(0, 2 * done, 2):
            at = 2 * done * p + q
            to = 8 * done * p + q
            ar = load_{dtype}(x, at)
            ai = load_{dtype}(x, at + 1)
            br = load_{dtype}(x, at + step)
            bi = load_{dtype}(x, at + step + 1)
            cr = load_{dtype}(x, at + 2 * step)
            ci = load_{dtype}(x, at + 2 * step + 1)
            dr = load_{dtype}(x, at + 3 * step)
            di = load_{dtype}(x, at + 3 * step + 1)
            er = ar + cr
            ei = ai + ci
            fr = ar - cr
            fi = ai - ci
            gr = br + dr
            gi = bi + di
            hr = bi - di
            hi = dr - br
            store_{dtype}(y, to, er + gr)
            store_{dtype}(y, to + 1, ei + gi)
            to += 2 * done
            store_{dtype}(y, to, (fr + hr) * c1 - (fi + hi) * s1)
            store_{dtype}(y, to + 1, (fr + hr) * s1 + (fi + hi) * c1)
            to += 2 * done
            store_{dtype}(y, to, (er - gr) * c2 - (ei - gi) * s2)
            store_{dtype}(y, to + 1, (er - gr) * s2 + (ei - gi) * c2)
            to += 2 * done
            store_{dtype}(y, to, (fr - hr) * c3 - (fi - hi) * s3)
            store_{dtype}(y, to + 1, (fr - hr) * s3 + (fi - hi) * c3)
"""

PASS_ANY = """\
def routine_pass_any_{dtype}(radix, done, left, x, y, roots):
    apart = done * left
    for p in range(left):
        for j in range(radix):
            c = load_float64(roots, 2 * done * j * p)
            s = load_float64(roots, 2 * done * j * p + 1)
            for q in range(done):
                tr = 0.0
                ti = 0.0
                turn = 0
                for k in range(radix):
                    at = 2 * (q + done * (p + left * k))
                    ar = load_{dtype}(x, at)
                    ai = load_{dtype}(x, at + 1)
                    wr = load_float64(roots, 2 * turn * apart)
                    wi = load_float64(roots, 2 * turn * apart + 1)
                    tr += ar * wr - ai * wi
                    ti += ar * wi + ai * wr
                    turn += j
                    if turn >= radix:
                        turn -= radix
                to = 2 * (q + done * (radix * p + j))
                store_{dtype}(y, to, tr * c - ti * s)
                store_{dtype}(y, to + 1, tr * s + ti * c)
"""


def _pass_odd(radix: int) -> str:
    """The text of a pass of 3 or 5 points: sums and differences of what lies opposite meet the
    cosines and the sines [Van Loan 1992, 2.1]."""
    half = range(1, radix // 2 + 1)
    lines = [
        f"def routine_pass_{radix}_{{dtype}}(done, left, x, y, roots):",
        "    step = 2 * done * left",
        "    for p in range(left):",
    ]
    for j in range(1, radix):
        lines += [
            f"        c{j} = load_float64(roots, {2 * j} * done * p)",
            f"        s{j} = load_float64(roots, {2 * j} * done * p + 1)",
        ]
    body = ["at = 2 * done * p + q", f"to = {2 * radix} * done * p + q"]
    for k in range(radix):
        body += [f"r{k} = load_{{dtype}}(x, at + {k} * step)"]
        body += [f"i{k} = load_{{dtype}}(x, at + {k} * step + 1)"]
    for k in half:
        body += [f"ur{k} = r{k} + r{radix - k}", f"ui{k} = i{k} + i{radix - k}"]
        body += [f"vr{k} = r{k} - r{radix - k}", f"vi{k} = i{k} - i{radix - k}"]
    for part in "ri":
        total = " + ".join(f"u{part}{k}" for k in half)
        body.append(f"store_{{dtype}}(y, to + {'ri'.index(part)}, {part}0 + {total})")
    for j in half:
        angles = [2 * math.pi * (j * k % radix) / radix for k in half]
        cosines, sines = [math.cos(a) for a in angles], [math.sin(a) for a in angles]
        for name, start, numbers in (
            ("er", "r0 + ", zip(cosines, ("ur",) * radix, strict=False)),
            ("ei", "i0 + ", zip(cosines, ("ui",) * radix, strict=False)),
            ("fr", "", zip(sines, ("vi",) * radix, strict=False)),
            ("fi", "", zip((-n for n in sines), ("vr",) * radix, strict=False)),
        ):
            terms = [f"{n!r} * {what}{k}" for k, (n, what) in zip(half, numbers, strict=True)]
            body.append(f"{name} = {start}{' + '.join(terms)}")
        for place, sign in ((j, "+"), (radix - j, "-")):
            body += [f"gr = er {sign} fr", f"gi = ei {sign} fi"]
            for half_of, value in enumerate(("gr * c{0} - gi * s{0}", "gr * s{0} + gi * c{0}")):
                at = f"to + {2 * place} * done + {half_of}"
                body.append(f"store_{{dtype}}(y, {at}, {value.format(place)})")
    lines += ["        for q in range(0, 2 * done, 2):", *(f"            {line}" for line in body)]
    return "\n".join(lines) + "\n"


PASSES = {2: PASS_2, 3: _pass_odd(3), 4: PASS_4, 5: _pass_odd(5)}


def _passes(n: int, dtype: str) -> tuple[str, ...]:
    """All passes of a transform of n points, as functions of which the last is called."""
    factors: list[int] = []
    while (left := n // math.prod(factors)) > 1:
        factors.append(next((r for r in (4, 2, 3, 5) if left % r == 0), largest_prime(left)))
    lines = [f"def routine_passes_{n}_{dtype}(x, y, roots):"]
    source, target, done = "x", "y", 1
    for radix in factors:
        name = f"{radix}_{dtype}(" if radix in PASSES else f"any_{dtype}({radix}, "
        left = n // done // radix
        lines.append(f"    routine_pass_{name}{done}, {left}, {source}, {target}, roots)")
        source, target, done = target, source, done * radix
    if source == "y":
        lines.append(f"    copy(x, 0, y, 0, {2 * n * ITEMSIZE[dtype]})")
    texts = dict.fromkeys(PASSES.get(radix, PASS_ANY) for radix in factors)
    lines += [] if factors else ["    view(x, 0)"]
    return (*(t.format(dtype=dtype) for t in texts), "\n".join(lines) + "\n")


FOURIER_TEXT = """\
def routine_fourier_{n}_{dtype}(start, stop, n, sign, x, roots, out, work):
    # the inverse is the conjugate of the transform of the conjugate
    for row in range(start, stop):
        here = view(out, 2 * row * n * {bytes})
        copy(here, 0, x, 2 * row * n * {bytes}, 2 * n * {bytes})
        if sign < 0:
            for i in range(1, 2 * n, 2):
                store_{dtype}(here, i, -load_{dtype}(here, i))
        routine_passes_{n}_{dtype}(here, work, roots)
        if sign < 0:
            for i in range(1, 2 * n, 2):
                store_{dtype}(here, i, -load_{dtype}(here, i))
"""

BLUESTEIN_TEXT = """\
def routine_bluestein_{n}_{dtype}(start, stop, n, m, sign, x, roots, out, work):
    # X[k] = c[k] * sum of (x[j] c[j]) conj(c[k - j]), with c[j] = exp(-i pi j j / n)
    chirp = view(roots, 16 * m)
    kernel = view(chirp, 16 * n)
    a = work
    b = view(work, 2 * m * {bytes})
    for row in range(start, stop):
        zero(a, 2 * m * {bytes})
        for j in range(n):
            xr = load_{dtype}(x, 2 * (row * n + j))
            xi = load_{dtype}(x, 2 * (row * n + j) + 1) * sign
            cr = load_float64(chirp, 2 * j)
            ci = load_float64(chirp, 2 * j + 1)
            store_{dtype}(a, 2 * j, xr * cr - xi * ci)
            store_{dtype}(a, 2 * j + 1, xr * ci + xi * cr)
        routine_passes_{m}_{dtype}(a, b, roots)
        for j in range(m):
            xr = load_{dtype}(a, 2 * j)
            xi = load_{dtype}(a, 2 * j + 1)
            cr = load_float64(kernel, 2 * j)
            ci = load_float64(kernel, 2 * j + 1)
            store_{dtype}(a, 2 * j, xr * cr - xi * ci)
            store_{dtype}(a, 2 * j + 1, -xr * ci - xi * cr)
        routine_passes_{m}_{dtype}(a, b, roots)
        for k in range(n):
            xr = load_{dtype}(a, 2 * k)
            xi = -load_{dtype}(a, 2 * k + 1)
            cr = load_float64(chirp, 2 * k)
            ci = load_float64(chirp, 2 * k + 1)
            store_{dtype}(out, 2 * (row * n + k), xr * cr - xi * ci)
            store_{dtype}(out, 2 * (row * n + k) + 1, (xr * ci + xi * cr) * sign)
"""


def largest_prime(n: int) -> int:
    """The largest prime factor, 1 for 1.

    >>> largest_prime(84)
    7
    """
    factor, largest = 2, 1
    while factor * factor <= n:
        while n % factor == 0:
            n, largest = n // factor, factor
        factor += 1
    return max(n, largest)


def _padded(n: int) -> int:
    """The size of Bluestein's convolution, or 0 where none is needed."""
    return 1 << (2 * n - 2).bit_length() if largest_prime(n) > LARGEST_PRIME else 0


@cache
def table(n: int) -> np.ndarray:
    """What a transform of n points multiplies with: float64 numbers, carried as int64 since no
    derivative is by them.

    The roots of unity exp(-2 pi i k / n); for a convolution those of its size, then the chirp and
    the transform of its conjugate.
    """
    m = _padded(n)
    if not m:
        return _bits(_roots(n, n))
    steps = np.arange(n, dtype=np.int64)
    chirp = np.exp(-1j * math.pi * (steps * steps % (2 * n)) / n)
    kernel = np.zeros(m, complex)
    kernel[:n] = chirp.conj()
    kernel[m - n + 1 :] = chirp[1:].conj()[::-1]
    return _bits(np.concatenate([_roots(m, m), chirp, np.fft.fft(kernel) / m]))


def _roots(n: int, count: int) -> np.ndarray:
    """Roots of unity, by angles of at most an eighth of a turn."""
    k = np.arange(count)
    eighth = np.round(8 * k / n)  # the nearest multiple of an eighth, and the rest of the angle
    rest = 2 * math.pi * (k / n - eighth / 8)
    return np.exp(-1j * rest) * _EIGHTHS[eighth.astype(int) % 8]


_HALF = math.sqrt(0.5)
_EIGHTHS = np.array(
    [
        1,
        _HALF - _HALF * 1j,
        -1j,
        -_HALF - _HALF * 1j,
        -1,
        _HALF * 1j - _HALF,
        1j,
        _HALF + _HALF * 1j,
    ]
)


def _bits(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers).view(np.int64)


def _code(x: TensorType, roots: TensorType, inverse: int) -> Code:
    n, m = x.shape[-2], _padded(x.shape[-2])
    size, extent, sign = ITEMSIZE[x.dtype], math.prod(x.shape[:-2]), -1 if inverse else 1
    last = BLUESTEIN_TEXT if m else FOURIER_TEXT
    words = {"dtype": x.dtype, "bytes": size, "n": n, "m": m}
    parts = (*_passes(m or n, x.dtype), last.format(**words))
    if m:
        return Code(parts, extent, (n, m, sign), (4 * m * size,))
    return Code(parts, extent, (n, sign), (2 * n * size,))


def _reference(x: Any, roots: Any, inverse: int) -> np.ndarray:
    x = np.ascontiguousarray(x)
    whole = x.view(np.result_type(x.dtype, np.complex64))[..., 0]
    found = np.fft.ifft(whole, norm="forward") if inverse else np.fft.fft(whole)
    return np.stack([found.real, found.imag], -1).astype(x.dtype)


FOURIER: Op = define(
    Op(
        "fourier",
        Kind.ROUTINE,
        lambda x, roots, inverse: x,
        _reference,
        lambda g, out, x, roots, inverse: (
            apply(FOURIER, g, roots, inverse=1 - inverse),
            None,
        ),
        accepts="float",
        batch=batching(lambda: FOURIER, 1),
        routine=_code,
        samples=lambda rng, dtype: [
            ((rng.uniform(-1, 1, (2, n, 2)).astype(dtype), table(n)), {"inverse": inverse})
            for n, inverse in ((12, 0), (37, 1))
        ],
    )
)


def fourier(x: Any, inverse: int = 0) -> Any:
    """The transform of pairs along the axis before the last, or the inverse one times its size.

    >>> fourier(np.array([[1.0, 0.0], [2.0, 0.0]]))
    array([[ 3.,  0.],
           [-1.,  0.]])
    """
    if not x.size:
        return x
    return apply(FOURIER, x, hidden(table(x.shape[-2])), inverse=inverse)
