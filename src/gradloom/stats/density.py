"""What the distributions share: the standard variable, the support, densities from logarithms."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.ops.elementwise import exp, log, where
from gradloom.ops.public import as_operand
from gradloom.ops.ufuncs import operands

_MEANINGS = {
    "logpdf": "The logarithm of the density.",
    "logpmf": "The logarithm of the probability.",
    "cdf": "The distribution function: the probability of no more.",
    "logcdf": "The logarithm of the distribution function.",
    "sf": "The survival function: the probability of more.",
    "logsf": "The logarithm of the survival function.",
    "ppf": "The inverse of the distribution function.",
    "isf": "The inverse of the survival function.",
}


def method(function: Callable[..., Any]) -> staticmethod[..., Any]:
    """A static method whose arguments are arrays or traced values: Python's numbers in the dtype of
    the others, so that they do not widen it."""
    signature = inspect.signature(function)
    function.__doc__ = function.__doc__ or _MEANINGS[function.__name__]

    @functools.wraps(function)
    def prepared(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return function(*operands(*bound.arguments.values()))

    return staticmethod(prepared)


def exponential_of(name: str, logarithm: Callable[..., Any]) -> staticmethod[..., Any]:
    """A method that is the exponential of another: `pdf` of `logpdf`."""

    @functools.wraps(logarithm)
    def function(*args: Any, **kwargs: Any) -> Any:
        return exp(logarithm(*args, **kwargs))

    function.__name__ = name
    function.__doc__ = f"`exp` of `{logarithm.__name__}`."
    return staticmethod(function)


def logarithm_of(name: str, function: Callable[..., Any]) -> staticmethod[..., Any]:
    """A method that is the logarithm of another: `logcdf` of `cdf`."""

    @functools.wraps(function)
    def logarithm(*args: Any, **kwargs: Any) -> Any:
        return log(function(*args, **kwargs))

    logarithm.__name__ = name
    logarithm.__doc__ = f"`log` of `{function.__name__}`."
    return staticmethod(logarithm)


def standard(x: Any, loc: Any, scale: Any) -> Any:
    """`(x - loc) / scale`."""
    return (as_operand(x) - loc) / scale


def supported(inside: Any, z: Any, density: Callable[[Any], Any], safe: float) -> Any:
    """The logarithm of a density inside of its support, minus infinity outside; NaN of NaN.

    The density is computed of `safe` outside, so that no gradient there is NaN.
    """
    kept = inside | (z != z)
    return where(kept, density(where(kept, z, safe)), -np.inf)


def is_whole(k: Any) -> Any:
    """Whether counts are whole numbers."""
    return k == (k // 1)


def between(z: Any, low: Any, high: Any, inside: Callable[[Any], Any], safe: float) -> Any:
    """0 below the support, 1 above it, and `inside` of what is in it: a distribution function."""
    below, above = z < low, z > high
    return where(below, 0.0, where(above, 1.0, inside(where(below | above, safe, z))))
