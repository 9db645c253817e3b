"""The questions that everything compiled answers, as methods."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gradloom.inspection import Drawing, MemoryReport
    from gradloom.program import Program


def inspection() -> Any:
    """The module with the answers, which takes longer to import than a small model to train."""
    return importlib.import_module("gradloom.inspection")


class Inspectable(Protocol):
    """Answers questions about `self.program(...)`.

    Every method takes the arguments of a call as examples, and compiles for them if that was not
    done before, without running; with none it speaks of the program used last.
    """

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program for these arguments."""
        ...

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """The kernels: loops, operations, bytes, the lines they come from, why they are apart."""
        return inspection().explain(self.program(*args, **kwargs))

    def memory(self, *args: Any, **kwargs: Any) -> MemoryReport:
        """The bytes that a call uses, each buffer with its place and its lifetime."""
        return inspection().memory(self.program(*args, **kwargs))

    def source(self, *args: Any, **kwargs: Any) -> str:
        """The program as a Python module that runs uncompiled, also under `pdb`."""
        return inspection().source(self.program(*args, **kwargs))

    def llvm(self, *args: Any, **kwargs: Any) -> str:
        """The optimised LLVM text; of a program for GPUs, what its PTX is made of."""
        return inspection().llvm(self.program(*args, **kwargs))

    def assembly(self, *args: Any, **kwargs: Any) -> str:
        """This machine's assembly."""
        return inspection().assembly(self.program(*args, **kwargs))

    def kernels(self, *args: Any, **kwargs: Any) -> str:
        """The kernels of a program for GPUs as a Python module for Numba's CUDA target."""
        return inspection().kernels(self.program(*args, **kwargs))

    def ptx(self, *args: Any, **kwargs: Any) -> str:
        """The kernels of a program for GPUs as PTX."""
        return inspection().ptx(self.program(*args, **kwargs))

    def sass(self, *args: Any, **kwargs: Any) -> str:
        """The machine code of a program for GPUs, as text: with the extra `cuda-ptx`, and the
        toolkit's `nvdisasm`."""
        return inspection().sass(self.program(*args, **kwargs))

    def draw(self, *args: Any, path: str | Path | None = None, **kwargs: Any) -> Drawing:
        """The graph and the arena as SVG; with a `path`, also as `path_graph.svg` and
        `path_arena.svg`.  Notebooks show the result."""
        if path is None and args and isinstance(args[0], str | Path):
            path, args = (
                args[0],
                args[1:],
            )  # no example argument is a text: gl.jit takes arrays and numbers
        drawing = inspection().draw(self.program(*args, **kwargs))
        if path is not None:
            drawing.save(path)
        return drawing
