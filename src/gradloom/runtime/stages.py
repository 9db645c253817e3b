"""The machine code of stages, kept by what they do, for every program that has such a stage.

What a program needs and none has compiled yet becomes one object, a group.  On disk, an entry for
each stage names its group; in a process, a group is loaded once.  An entry whose group is gone is a
miss, like any other that cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from gradloom.codegen import words
from gradloom.runtime import cache
from gradloom.runtime.load import load, open_library

if TYPE_CHECKING:
    from gradloom.runtime.native import Build

Groups = Mapping[str, Collection[str]]  # the functions that are wanted of each

_libraries: dict[str, llvm.ResourceTracker] = {}
_groups: dict[str, str] = {}  # of each stage that this process has met


def groups(contents: Mapping[str, str], compiled: Callable[[Collection[str]], Build]) -> Groups:
    """The groups that have these stages, given by name and by what their code is made from; what is
    in none is `compiled`, to a new one."""
    keys = {
        name: cache.make_key(stage=name, content=content, host=cache.host_key())
        for name, content in contents.items()
    }
    places = {name: _group(key) for name, key in keys.items()}
    missing = [name for name, group in places.items() if not group]
    if missing:
        added = _add({name: keys[name] for name in missing}, compiled(missing).object)
        places |= dict.fromkeys(missing, added)
    found: dict[str, list[str]] = {}
    for name, group in places.items():
        found.setdefault(group, []).append(name)
    return found


def _group(key: str) -> str:
    """The group of a stage, loaded, or "" if there is none."""
    if key not in _groups:
        entry = cache.fetch(key)
        if entry is None or not group_code(entry.notes["group"]):
            return ""
        _groups[key] = entry.notes["group"]
    return _groups[key]


def _add(keys: Mapping[str, str], built: bytes) -> str:
    """A new group of stages, whose keys are given by name."""
    group = cache.make_key(group="\n".join(keys.values()))
    cache.store(group, built, names=[*keys])
    _libraries[group] = open_library(built, keys)
    for key in keys.values():
        cache.store(key, b"", group=group)
        _groups[key] = group
    return group


def group_code(group: str) -> llvm.ResourceTracker | None:
    """The functions of a group: from this process, or from the cache."""
    if group not in _libraries:
        entry = cache.fetch(group)
        if entry is None:
            return None
        _libraries[group] = open_library(entry.object, entry.notes["names"])
    return _libraries[group]


def load_driver(built: bytes, groups: Groups) -> Any:
    """The entry of a driver that calls stages of these groups, which are there."""
    addresses = {n: _libraries[group][n] for group, names in groups.items() for n in names}
    libraries = [_libraries[group] for group in groups]
    return load(built, words.ENTRY, words.ARGUMENTS, addresses, libraries)
