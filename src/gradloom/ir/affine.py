"""Index expressions: a constant plus integer multiples of loop axes, and the guards around them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Affine:
    """`const + sum(coefficient * axis)`; axes are numbered, terms are sorted and never zero.

    >>> i, j = Affine.axis(0), Affine.axis(1)
    >>> str(i * 64 + j + 3)
    '64*i0 + i1 + 3'
    """

    const: int = 0
    terms: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def axis(number: int) -> Affine:
        return Affine(0, ((number, 1),))

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.const + other, self.terms)
        sums = dict(self.terms)
        for axis, coefficient in other.terms:
            sums[axis] = sums.get(axis, 0) + coefficient
        kept = tuple(sorted((a, c) for a, c in sums.items() if c))
        return Affine(self.const + other.const, kept)

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return Affine()
        return Affine(self.const * factor, tuple((a, c * factor) for a, c in self.terms))

    def coefficient(self, axis: int) -> int:
        for number, value in self.terms:
            if number == axis:
                return value
        return 0

    def renumber(self, axes: dict[int, Affine]) -> Affine:
        """Every axis replaced by an expression of others."""
        total = Affine(self.const)
        for axis, coefficient in self.terms:
            total = total + axes[axis] * coefficient
        return total

    def __str__(self) -> str:
        parts = [f"i{a}" if c == 1 else f"{c}*i{a}" for a, c in self.terms]
        if self.const or not parts:
            parts.append(str(self.const))
        return " + ".join(parts)


Index = tuple[Affine, ...]


@dataclass(frozen=True, slots=True)
class Guard:
    """True where `low <= at < high`."""

    at: Affine
    low: int
    high: int


def linear(index: Index, strides: tuple[int, ...]) -> Affine:
    """The element offset of `index` in a buffer with these strides."""
    total = Affine()
    for at, stride in zip(index, strides, strict=True):
        total = total + at * stride
    return total
