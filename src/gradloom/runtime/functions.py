"""Native functions of gradloom's own: from the cache, or made."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


@cache
def native(
    entry: str, text: str, arguments: tuple[str, ...], *, lowered: bool = True
) -> Callable[..., int]:
    """Function `entry` of an LLVM text, or of a driver's that is not `lowered` yet, which returns
    an int64."""
    from gradloom.runtime import cache as objects
    from gradloom.runtime.load import load

    key = objects.make_key(function=entry, text=text, host=objects.host_key())
    found = objects.fetch(key)
    if found is None:
        from gradloom.clock import Clock
        from gradloom.runtime.lowering import lower_text
        from gradloom.runtime.native import make_object

        text = text if lowered else lower_text(text, entry, arguments, {})
        built = make_object([text], (entry,), "", "", Clock()).object
        objects.store(key, built, entry=entry)
    else:
        built = found.object
    return load(built, entry, arguments)
