"""The machine code of stages, kept by what they do, for every program that has such a stage.

What a program needs and none has compiled yet becomes one object, a group.  On disk, an entry for
each stage names its group; in a process, a group is loaded once.  An entry whose group is gone is a
miss, like any other that cannot be trusted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from gradloom.codegen import words
from gradloom.runtime import cache
from gradloom.runtime.load import load, open_library

if TYPE_CHECKING:
    from gradloom.runtime.native import Build

Groups = Mapping[str, Collection[str]]  # the functions that are wanted of each

# Groups that stay loaded when no program has them any more, for the next that has such a stage.
LOADED = 256
_libraries: dict[str, llvm.ResourceTracker] = {}  # by group
_groups: dict[str, str] = {}  # of each stage that one of these has
_uses: dict[str, int] = {}  # of each group, the number of its last use; threads need no lock for it
_numbers = itertools.count()


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
    _uses[_groups[key]] = next(_numbers)
    return _groups[key]


def _forget() -> None:
    """Let the groups go that were used longest ago: programs that have them keep them."""
    by_age = sorted(_libraries, key=lambda group: _uses.get(group, 0))
    gone = by_age[: max(len(by_age) - LOADED, 0)]
    for key in [key for key, group in [*_groups.items()] if group in gone]:
        _groups.pop(key, None)
    for group in gone:
        _libraries.pop(group, None)
        _uses.pop(group, None)


def _add(keys: Mapping[str, str], built: bytes) -> str:
    """A new group of stages, whose keys are given by name."""
    group = cache.make_key(group="\n".join(keys.values()))
    cache.store(group, built, names=[*keys])
    _libraries[group] = open_library(built, keys)
    _uses[group] = next(_numbers)
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
    _uses[group] = next(_numbers)
    return _libraries[group]


def load_driver(built: bytes, groups: Groups) -> Any:
    """The entry of a driver that calls stages of these groups, which are there."""
    libraries = {group: _libraries[group] for group in groups}
    _forget()
    addresses = {n: libraries[group][n] for group, names in groups.items() for n in names}
    return load(built, words.ENTRY, words.ARGUMENTS, addresses, libraries.values())
