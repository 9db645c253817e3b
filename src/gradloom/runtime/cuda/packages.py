"""What is installed for GPUs, known without importing it, and the names of architectures."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from gradloom.errors import ToolchainError
from gradloom.settings import current as current_settings

INSTALL = 'pip install "gradloom[cuda]"'
TOOLS = ("numba", "nvidia-nvvm", "nvidia-nvjitlink")
ARCH = re.compile(r"sm_(\d+)(\d)([af]?)")


def capability(arch: str) -> tuple[int, ...] | tuple[int, int, str]:
    """The compute capability of an architecture.

    >>> capability("sm_90"), capability("sm_120"), capability("sm_90a")
    ((9, 0), (12, 0), (9, 0, 'a'))
    """
    found = ARCH.fullmatch(arch)
    if found is None:
        raise ToolchainError(f"{arch!r} is no architecture; write it as sm_80, sm_90 or sm_120")
    major, minor, specific = int(found[1]), int(found[2]), found[3]
    return (major, minor, specific) if specific else (major, minor)


def versions() -> dict[str, str]:
    """The packages that a cubin depends on, with their versions; those that are not there lack.

    Reads what is installed without importing it.
    """
    return _versions((python_compiler(), *TOOLS))


def python_compiler() -> str:
    """The package that compiles kernels written in Python."""
    asked = current_settings().cuda_compiler
    return "numba-cuda" if asked == "llvm" else asked


@cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@contextmanager
def needs(what: str) -> Iterator[None]:
    """Turn a failed import into what to do about it."""
    try:
        yield
    except ImportError as error:
        raise ToolchainError(
            f"{what} cannot be imported ({error})\n  repair: {INSTALL}; "
            "python -m gradloom doctor says what is found"
        ) from error
