"""The other end of `benchmarks/processes.py`: a line of JSON for each word that comes in."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.contenders.checks import CannotError


def serve(make: Callable[[], Any]) -> None:
    """Make something, and call the methods that are asked for, a line each, with their words."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere

    def answer(found: dict[str, Any]) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    try:
        server = make()
        answer({})
        for line in sys.stdin:
            word, *arguments = line.split()
            answer(getattr(server, word)(*arguments) or {})
    except CannotError as error:
        answer({"cannot": str(error)})
