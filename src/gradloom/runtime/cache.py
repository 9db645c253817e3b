"""Native objects on disk, under names made from all that they depend on. Never imports numba.

An entry is MAGIC, the sha256 of the rest, the header's length, a JSON header and the object. One
that is cut short, altered or filed under another key is a miss and is written anew; it is never
trusted. Entries are complete from the moment they have their name, so any number of processes may
share a directory.
"""

import hashlib
import json
import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm

from gradloom.settings import current
from gradloom.version import VERSION

MAGIC = b"gradloom object 1\n"
_DIGEST_BYTES = 32
_LENGTH = struct.Struct("<I")


class Entry(NamedTuple):
    """An object from the cache, and what was noted when it was stored."""

    object: bytes
    notes: dict[str, Any]


@dataclass
class Counts:
    """What the cache has done in this process; `rejected` entries are misses too."""

    hits: int = 0
    misses: int = 0
    stores: int = 0
    rejected: int = 0
    _warned: set[str] = field(default_factory=set, repr=False)


COUNTS = Counts()


def make_key(**parts: str | bytes) -> str:
    """The name for what depends on `parts`; each is counted with its own name and length.

    >>> make_key(driver="ab", kernels="c") == make_key(driver="a", kernels="bc")
    False
    """
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        content = part.encode() if isinstance(part, str) else part
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


@cache
def host_key() -> str:
    """What else an object depends on: this machine, LLVM, and gradloom's own source."""
    return "|".join(
        (
            llvm.get_process_triple(),
            llvm.get_host_cpu_name(),
            llvm.get_host_cpu_features().flatten(),
            f"llvmlite {llvmlite.__version__}",
            f"gradloom {VERSION} {_source_stamp()}",
        )
    )


def _source_stamp() -> str:
    """Differs after any change to gradloom's files, so that a checkout never meets its old code."""
    found = sorted(_sources(os.path.dirname(os.path.dirname(__file__))))
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


def _sources(folder: str) -> Iterator[str]:
    """Every file of Python within a folder, with its size and the time of its last change."""
    with os.scandir(folder) as entries:  # a third of the time of `pathlib`
        for entry in entries:
            if entry.name.endswith(".py"):
                status = entry.stat()
                yield f"{entry.path} {status.st_size} {status.st_mtime_ns}"
            elif entry.is_dir():
                yield from _sources(entry.path)


def directory() -> Path:
    """Where entries are kept."""
    chosen = current().cache_dir
    return Path(chosen) if chosen else Path(_platform_directory())


@cache
def _platform_directory() -> str:
    import platformdirs  # 3 ms that a chosen directory saves

    return platformdirs.user_cache_dir("gradloom", appauthor=False)


def path_of(key: str) -> Path:
    """The file of an entry; a level of folders keeps them short."""
    return directory() / key[:2] / f"{key}.o"


def fetch(key: str) -> Entry | None:
    """The entry of `key`, or None if there is none that can be trusted."""
    if not current().cache:
        return None
    try:
        content = path_of(key).read_bytes()
    except OSError:
        COUNTS.misses += 1
        return None
    entry = _unpack(key, content)
    if entry is None:
        COUNTS.misses += 1
        COUNTS.rejected += 1
    else:
        COUNTS.hits += 1
    return entry


def store(key: str, built: bytes, **notes: Any) -> None:
    """Keep an object, with notes that JSON can hold. A directory that refuses is warned of once."""
    if not current().cache:
        return
    try:
        _write(path_of(key), _pack(key, built, notes))
    except OSError as error:
        _warn_once(error)
    else:
        COUNTS.stores += 1


def _pack(key: str, built: bytes, notes: dict[str, Any]) -> bytes:
    header = json.dumps({"key": key, "version": VERSION, "notes": notes}).encode()
    rest = _LENGTH.pack(len(header)) + header + built
    return MAGIC + hashlib.sha256(rest).digest() + rest


def _unpack(key: str, content: bytes) -> Entry | None:
    start = len(MAGIC) + _DIGEST_BYTES
    rest = content[start:]
    if not content.startswith(MAGIC) or len(rest) < _LENGTH.size:
        return None
    if hashlib.sha256(rest).digest() != content[len(MAGIC) : start]:
        return None
    (length,) = _LENGTH.unpack_from(rest)
    end = _LENGTH.size + length
    header = json.loads(rest[_LENGTH.size : end])
    if header["key"] != key:
        return None
    return Entry(rest[end:], header["notes"])


def _write(path: Path, content: bytes) -> None:
    """Write beside the final name and rename, so that no reader meets half a file."""
    import tempfile  # 3 ms that a hit does not need

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=path.stem[:8], suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise


def _warn_once(error: OSError) -> None:
    place = str(directory())
    if place in COUNTS._warned:
        return
    COUNTS._warned.add(place)
    warnings.warn(
        f"compiled programs cannot be kept in {place} ({error.strerror or error}), so every "
        "process compiles its own; set GRADLOOM_CACHE_DIR to a directory that can be written, "
        "or GRADLOOM_CACHE=0",
        stacklevel=3,
    )
