"""The code of an operation over whole arrays, in the driver's own small language."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """What a row of kind ROUTINE gives for operands of known types.

    `parts` are functions, of which the last is called:

        def routine_NAME(start, stop, *numbers, *operands, *results, *work)

    for the range `start ... stop` of `extent` independent pieces of the work (the batch).  All
    names begin with `routine_`, and functions of one name have one text.  Operands, results and
    `work`, scratch memory of so many bytes each, are addresses of contiguous row-major arrays, for
    the words of `codegen.primitives`.  Sizes are `numbers`, so that all sizes share machine code.
    """

    parts: tuple[str, ...]
    extent: int
    numbers: tuple[int, ...] = ()
    work: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The name of the function that is called."""
        return self.parts[-1].partition("(")[0].removeprefix("def ").strip()


def below(dtype: str, first: str, second: str) -> str:
    """The expression for `first < second` of two integers that were loaded, which are int64."""
    if dtype != "uint64":
        return f"{first} < {second}"
    upper, lower = (f"({name} >> 1 & {2**63 - 1})" for name in (first, second))
    return f"({upper} < {lower} or ({upper} == {lower} and {first} & 1 < {second} & 1))"
