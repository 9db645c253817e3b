"""What every compiled thing can be asked: its kernels, memory, source, machine code and pictures."""

from __future__ import annotations

from typing import Any

from gradloom.pipeline import Program


class Inspectable:
    """Answers questions about `self.program(...)`."""

    def program(self, *args: Any, **kwargs: Any) -> Program:
        raise LookupError("nothing compiled")
