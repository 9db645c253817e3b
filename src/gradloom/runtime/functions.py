"""Native functions of gradloom's own, given as LLVM text: from the cache, or made."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


@cache
def native(entry: str, text: str, arguments: tuple[str, ...]) -> Callable[..., int]:
    """Function `entry` of an LLVM text, which returns an int64."""
    from gradloom.clock import Clock
    from gradloom.runtime import cache as objects
    from gradloom.runtime.load import load
    from gradloom.runtime.native import make_object

    key = objects.make_key(function=entry, text=text, host=objects.host_key())
    found = objects.fetch(key)
    if found is None:
        built = make_object([text], (entry,), "", "", Clock()).object
        objects.store(key, built, entry=entry)
    else:
        built = found.object
    return load(built, entry, arguments)
