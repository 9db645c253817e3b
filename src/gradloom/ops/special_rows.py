"""Rows of special functions: the error function's and the gamma function's families, and Bessel's.

They are named and defined as SciPy's, which is their reference; `gradloom.special` offers them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.ops import scalar_bessel, scalar_gamma, scalar_incomplete, scalar_normal
from gradloom.ops.arithmetic import floor, sign
from gradloom.ops.logic import where
from gradloom.ops.public import public
from gradloom.ops.row import Function, elementwise
from gradloom.ops.transcendental import exp, log, log1p
from gradloom.ops.trigonometric import sin

_ROOT_PI, _ROOT_TWO_PI = math.sqrt(math.pi), math.sqrt(2 * math.pi)
_POSITIVE = (0.4, 6.0)


def _special(
    name: str,
    lanes: Function,
    vjp: Function,
    domain: tuple[Any, ...],
    cost: int,
    defined: Function | None = None,
    constant: tuple[int, ...] = (),
) -> Function:
    """A row whose reference is SciPy's function of this name, in double precision; NaN where it is
    not `defined`."""

    def reference(*arrays: Any) -> Any:
        from scipy import special  # imported where it is needed: it takes a while

        dtype = np.result_type(*arrays)
        dtype = dtype if dtype.kind == "f" else np.dtype("float64")
        wide = [np.asarray(a, "float64") for a in arrays]
        with np.errstate(all="ignore"):
            found = np.asarray(getattr(special, name)(*wide))
            found = found if defined is None else np.where(defined(*wide), found, np.nan)
            return found.astype(dtype)[()]

    slots = ", ".join(f"{{{i}}}" for i in range(len(domain)))
    spelling = f"OPS['{name}'].reference({slots})"
    return elementwise(
        name,
        reference,
        spelling,
        lanes,
        vjp,
        listed=False,
        accepts="float",
        domain=domain,
        cost=cost,
        constant=constant,
    )


# ---- the error function and the normal distribution

erfc = _special(
    "erfc",
    scalar_normal.erfc,
    lambda g, out, x: (g * (-2 / _ROOT_PI) * exp(-x * x),),
    ((-2.0, 3.0),),
    510,
)
erfcx = _special(
    "erfcx",
    scalar_normal.erfcx,
    lambda g, out, x: (g * (2 * x * out - 2 / _ROOT_PI),),
    ((-1.5, 4.0),),
    290,
)
ndtr = _special(
    "ndtr",
    scalar_normal.ndtr,
    lambda g, out, x: (g * exp(-0.5 * x * x) / _ROOT_TWO_PI,),
    ((-3.0, 3.0),),
    330,
)
log_ndtr = _special(
    "log_ndtr",
    scalar_normal.log_ndtr,
    lambda g, out, x: (g * _hazard(x),),
    ((-4.0, 3.0),),
    1055,
)
erfinv = _special(
    "erfinv",
    scalar_normal.erfinv,
    lambda g, out, x: (g * (_ROOT_PI / 2) * exp(out * out),),
    ((-0.9, 0.9),),
    1990,
)
erfcinv = _special(
    "erfcinv",
    scalar_normal.erfcinv,
    lambda g, out, x: (g * (-_ROOT_PI / 2) * exp(out * out),),
    ((0.1, 1.9),),
    1900,
)
ndtri = _special(
    "ndtri",
    scalar_normal.ndtri,
    lambda g, out, x: (g * _ROOT_TWO_PI * exp(0.5 * out * out),),
    ((0.05, 0.95),),
    1800,
)


def _hazard(x: Any) -> Any:
    """The normal density over the distribution function: each side by what is accurate there."""
    low = where(x < 0, x, 0)
    high = where(x < 0, 0, x)
    below = math.sqrt(2 / math.pi) / erfcx(low * -math.sqrt(0.5))
    return where(x < 0, below, exp(-0.5 * high * high) / (_ROOT_TWO_PI * ndtr(high)))


# ---- the gamma function

gammaln = _special(
    "gammaln",
    scalar_gamma.lgamma,
    lambda g, out, x: (g * digamma(x),),
    (_POSITIVE,),
    850,
)
gamma = _special(
    "gamma", scalar_gamma.gamma, lambda g, out, x: (g * out * digamma(x),), (_POSITIVE,), 740
)
digamma: Function = _special(
    "digamma", scalar_gamma.digamma, lambda g, out, x: (g * trigamma(x),), (_POSITIVE,), 600
)
zeta: Function = _special(
    "zeta",
    scalar_gamma.zeta,
    lambda g, out, s, q: (np.nan * g, -g * s * zeta(s + 1, q)),
    ((1.5, 4.0), (0.5, 6.0)),
    4000,
    lambda s, q: (s < np.inf) & (q == q),
    constant=(0,),
)
betaln = _special(
    "betaln",
    scalar_gamma.betaln,
    lambda g, out, a, b: (g * _less_sum(a, b), g * _less_sum(b, a)),
    (_POSITIVE, _POSITIVE),
    2180,
    lambda a, b: (a > 0) & (b > 0) & (np.maximum(a, b) < np.inf),
)


def trigamma(x: Any) -> Any:
    """The derivative of digamma; below 0 by reflection (DLMF 5.15.6)."""
    above = x > 0
    wave = where(above, 0.5, x - floor(where(above, 0, x)))
    direct = zeta(2.0, where(above, x, 1 - x))
    return where(above, direct, (math.pi / sin(wave * math.pi)) ** 2 - direct)


def _less_sum(a: Any, b: Any) -> Any:
    return digamma(a) - digamma(a + b)


# ---- incomplete functions; NaN stands for their derivatives by the parameters

gammainc = _special(
    "gammainc",
    scalar_incomplete.gammainc,
    lambda g, out, a, x: (np.nan * g, g * _gamma_density(a, x)),
    ((0.5, 4.0), (0.3, 5.0)),
    8000,
    constant=(0,),
)
gammaincc = _special(
    "gammaincc",
    scalar_incomplete.gammaincc,
    lambda g, out, a, x: (np.nan * g, -g * _gamma_density(a, x)),
    ((0.5, 4.0), (0.3, 5.0)),
    8000,
    constant=(0,),
)
betainc = _special(
    "betainc",
    scalar_incomplete.betainc,
    lambda g, out, a, b, x: (np.nan * g, np.nan * g, g * _beta_density(a, b, x)),
    ((0.5, 4.0), (0.5, 4.0), (0.1, 0.9)),
    9000,
    lambda a, b, x: (a > 0) & (b > 0) & (np.maximum(a, b) < np.inf),
    constant=(0, 1),
)


def _gamma_density(a: Any, x: Any) -> Any:
    inside = x > 0
    x = where(inside, x, 1)
    return where(inside, exp((a - 1) * log(x) - x - gammaln(a)), 0)


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    inside = (x > 0) & (x < 1)
    x = where(inside, x, 0.5)
    return where(inside, exp((a - 1) * log(x) + (b - 1) * log1p(-x) - betaln(a, b)), 0)


# ---- Bessel's functions

i0: Function = _special("i0", scalar_bessel.i0, lambda g, out, x: (g * i1(x),), ((-4.0, 4.0),), 340)
public(np.i0)(i0)
i1: Function = _special(
    "i1",
    scalar_bessel.i1,
    lambda g, out, x: (g * (i0(x) - _over(out, x)),),
    ((0.4, 4.0),),
    370,
    np.isfinite,
)
i0e: Function = _special(
    "i0e", scalar_bessel.i0e, lambda g, out, x: (g * (i1e(x) - sign(x) * out),), ((0.4, 4.0),), 370
)
i1e: Function = _special(
    "i1e",
    scalar_bessel.i1e,
    lambda g, out, x: (g * (i0e(x) - _over(out, x) - sign(x) * out),),
    ((0.4, 4.0),),
    370,
)


def _over(out: Any, x: Any) -> Any:
    """I_1(x) / x, which is 1/2 at 0."""
    return where(x == 0, 0.5, out / where(x == 0, 1, x))
