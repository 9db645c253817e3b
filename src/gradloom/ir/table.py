"""Tables that the modules of `ops` fill, most of them when something is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Table(dict[K, V]):
    """A dictionary that is filled where a program needs more than is there.

    A training step of a network needs ten modules of `ops`; the other thirty take 15 ms.
    """

    def __missing__(self, key: K) -> V:
        _complete()
        if not self.has(key):
            raise KeyError(key)
        return self[key]

    def has(self, key: object) -> bool:
        """Whether the key was entered by what is imported so far."""
        return super().__contains__(key)

    def __contains__(self, key: object) -> bool:
        if not self.has(key):
            _complete()
        return self.has(key)

    def __iter__(self) -> Iterator[K]:
        _complete()
        return super().__iter__()

    def __len__(self) -> int:
        _complete()
        return super().__len__()

    def keys(self) -> Any:
        _complete()
        return super().keys()

    def values(self) -> Any:
        _complete()
        return super().values()

    def items(self) -> Any:
        _complete()
        return super().items()


def _complete() -> None:
    """Import everything that enters something."""
    importlib.import_module("gradloom.numpy")
