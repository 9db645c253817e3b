"""The order of the rows in an epoch, made by the driver's own text, which runs here as native code.

A program on a GPU is given the order of each epoch: there one thread would make the exchanges, one
after another, each of which waits for memory twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from gradloom.codegen.driver import SHUFFLE_TEXT
from gradloom.runtime.arrays import address
from gradloom.runtime.functions import native

ENTRY = "shuffled"
ARGUMENTS = ("ptr", *("i64",) * 4)
_TEXT = f"""{SHUFFLE_TEXT}
def {ENTRY}(order, rows, low, high, epoch):
    shuffle(order, rows, low, high, epoch)
    return rows
"""


def shuffle(order: np.ndarray, key: tuple[int, int], epoch: int) -> None:
    """Fill an int64 array with the numbers of its rows, in the order of an epoch under a key.

    >>> order = np.empty(5, np.int64)
    >>> shuffle(order, (1, 2), 0)
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4]
    """
    _shuffle()(address(order), len(order), *key, epoch)


@cache
def _shuffle() -> Callable[..., int]:
    return native(ENTRY, _TEXT, ARGUMENTS, lowered=False)
