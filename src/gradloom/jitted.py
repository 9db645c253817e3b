"""`gl.jit`: one compilation a signature, and every stage of it open to questions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.arguments import Accept, acceptor
from gradloom.device_array import DeviceArray
from gradloom.errors import StateError, TracingError, message, user_where
from gradloom.frontend.matching import builder
from gradloom.frontend.pytree import Structure, flatten, of_call, paths, unflatten
from gradloom.frontend.trace import current
from gradloom.inspectable import Inspectable
from gradloom.options import budget, parse
from gradloom.placement import check_captured, chosen, placed, where_of
from gradloom.runtime.arrays import contiguous
from gradloom.tracing import Traced, is_wide, leaf_of, record

if TYPE_CHECKING:
    from gradloom.program import Program


@dataclass
class Compiled:
    """One signature's program."""

    traced: Traced
    program: Program
    dtypes: tuple[str, ...]
    verified: bool
    keywords: bool  # whether there are arguments by name
    where: str  # what it is compiled for
    on_cpu: bool
    accept: Accept  # of `args`; with keywords, of `(args, kwargs)`
    build: Callable[[list[Any]], Any]

    def __call__(self, leaves: list[Any]) -> Any:
        return self.run([contiguous(v, d) for v, d in zip(leaves, self.dtypes, strict=True)])

    def run(self, arrays: list[Any]) -> Any:
        """The result for contiguous arrays."""
        if self.traced.captured:
            arrays += [contiguous(a, a.dtype.name) for a in self.traced.captured]
        if self.verified:
            from gradloom.verification import verify

            verify(self.program, arrays)
        return self.build(self.program.executable(arrays))


class Jitted(Inspectable):
    """A function compiled once for each signature: structure, shapes and dtypes of its arguments.

    Inside another trace, or under `gradloom.eager`, it is the plain function.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.options = parse(options)
        self._compiled: dict[Any, Compiled] = {}
        self._latest: Compiled | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current() is not None:
            return self.function(*args, **kwargs)
        latest = self._latest
        if latest is not None and latest.keywords is bool(kwargs):
            arrays = latest.accept((args, kwargs) if kwargs else args)
            if arrays is not None and (
                (latest.on_cpu and not chosen) or latest.where == where_of(self.options, arrays)
            ):
                return latest.run(arrays)
        if kwargs:
            leaves, structure = flatten((args, kwargs))
        else:
            leaves, structure = flatten(args)
            structure = of_call(structure)
        compiled, leaves = self._find(leaves, structure)
        return compiled(leaves)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: the instance is the first argument, a pytree like any other."""
        return self if instance is None else functools.partial(self, instance)

    def _find(self, leaves: list[Any], structure: Structure) -> tuple[Compiled, list[Any]]:
        """The program for these leaves, and the leaves as it takes them."""
        where, leaves = placed(self.options, leaves)
        key = (structure, tuple(map(signature, leaves)), where)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = self._compile(leaves, structure, where)
        self._latest = found
        return found, leaves

    def _compile(self, leaves: list[Any], structure: Structure, where: str) -> Compiled:
        from gradloom.pipeline import compile_graph  # 60 ms, needed once something is compiled

        kinds = tuple(map(leaf_of, leaves))

        def call(values: list[Any]) -> Any:
            args, kwargs = unflatten(structure, values)
            return self.function(*args, **kwargs)

        traced = record(call, kinds)
        check_captured(where, traced.captured)
        names = _names(structure)
        names += [f"captured_{i}" for i in range(len(traced.captured))]
        within = budget(self.options)
        program = compile_graph(
            traced.graph,
            names,
            within=within,
            threads=self.options.threads,
            clock=traced.clock,
            flush=self.options.flush_denormals,
            device=where,
            precision=self.options.precision,
        )
        positional, keywords = structure.children
        dtypes = tuple(kind.type.dtype for kind in kinds)
        return Compiled(
            traced,
            program,
            dtypes,
            self.options.verify,
            bool(keywords.keys),
            where,
            where == "cpu",
            acceptor(
                structure if keywords.keys else positional,
                kinds,
                None if where == "cpu" else DeviceArray,
            ),
            builder(traced.structure),
        )

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program for these arguments, or the one used last if there are none."""
        if args or kwargs:
            return self._find(*flatten((args, kwargs)))[0].program
        if self._latest is None:
            raise StateError(
                message(
                    f"{getattr(self.function, '__name__', 'the function')} has not been compiled",
                    user_where(),
                    "call it first, or give example arguments here",
                )
            )
        return self._latest.program


def signature(value: Any) -> Any:
    """What makes a leaf's type, cheaply: arrays by dtype and shape, numbers by their class."""
    if isinstance(value, np.ndarray | np.generic | DeviceArray):
        return value.dtype, value.shape
    if type(value) is int:
        return int, is_wide(value)
    if isinstance(value, bool | int | float | complex):
        return type(value)
    return leaf_of(value)


def _names(structure: Structure) -> list[str]:
    """Argument paths as names: 'a0.w' for the leaf `w` of the first argument."""
    found = []
    for path in paths(structure):
        path = path.removeprefix("[0]").removeprefix("[1].")
        found.append(path.replace("[", "_").replace("]", "").replace(".", "_").strip("_"))
    return [f"a{n}" if n[:1].isdigit() else n for n in found]


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile `function` into one native call for each signature of its arguments.

    Arguments and results are pytrees of arrays (float32, float64, complex64,
    complex128, int32, int64, uint32, bool) and
    Python numbers; a Python number is a run-time value, so another one compiles nothing.  Arrays
    that the function closes over are read at every call.

    `options` are those of `gradloom.options.Options`: `threads`, `device`, `verify`,
    `memory_limit`, `precision`, `flush_denormals`.

    Raises `TracingError` where the function needs a concrete value (a Python `if`, `float()`), and
    `ShapeError` or `DtypeError` where operands do not fit, naming the line in the function.

    >>> import gradloom as gl, gradloom.numpy as gnp, numpy as np
    >>> f = gl.jit(lambda x: gnp.sum(x * x))
    >>> float(f(np.arange(4.0)))
    14.0
    """
    if function is None:
        return functools.partial(jit, **options)
    if not callable(function):
        raise TracingError(
            message(f"jit of {function!r}", user_where(), "give it a function: gl.jit(f)")
        )
    return Jitted(function, **options)
