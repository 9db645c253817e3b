"""Every GRADLOOM_* variable, and the only reader of the environment.

A setting changes what is printed or checked, or takes a slower road to the same answer. Whatever
may change a number is an argument of the function that compiles, and part of the cache's key.

| variable                 | meaning                                                            |
|--------------------------|--------------------------------------------------------------------|
| `GRADLOOM_DEBUG=0..5`    | 1 a line a compilation; 2 + a line a kernel; 3 + the graph before  |
|                          | and after the passes, the buffers; 4 + the source; 5 + LLVM        |
| `GRADLOOM_DUMP=a,b`      | write these stages to files in `GRADLOOM_DUMP_DIR`                 |
| `GRADLOOM_DUMP_DIR`      | where to; `gradloom-dump` unless set                               |
| `GRADLOOM_DISABLE=a,b`   | skip these passes, to find the one at fault; `lower_text`: Numba   |
|                          | lowers the driver                                                  |
| `GRADLOOM_VERIFY=0..2`   | 1 verify the plan; 2 verify after every stage and poison the arena |
| `GRADLOOM_INTERPRET=0,1` | run the program's Python text instead of compiled code             |
| `GRADLOOM_CACHE=0,1`     | whether compiled programs are kept on disk                         |
| `GRADLOOM_CACHE_DIR`     | where; the platform's cache folder of the user unless set          |
| `GRADLOOM_CUDA_COMPILER` | llvm (unless set), numba-cuda or numba-cuda-mlir: what makes PTX   |
|                          | of programs; the last two of their kernels as Python text          |
"""

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from gradloom.errors import SettingError


class Settings(NamedTuple):
    """The settings in force; the table above says what each means."""

    debug: int = 0
    dump: tuple[str, ...] = ()
    dump_dir: str = "gradloom-dump"
    disable: tuple[str, ...] = ()
    verify: int = 0
    interpret: bool = False
    cache: bool = True
    cache_dir: str = ""  # empty: the platform's cache folder of the user
    cuda_compiler: str = "llvm"


def _level(highest: int) -> Callable[[str], int]:
    """A parser of the integers from 0 to `highest`."""

    def parse(text: str) -> int:
        if not re.fullmatch(f"[0-{highest}]", text):
            raise ValueError(f"one of {', '.join(map(str, range(highest + 1)))}")
        return int(text)

    return parse


def _switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not all(name.isidentifier() for name in names):
        raise ValueError("names with commas between them, such as fuse,plan")
    return names


def _path(text: str) -> str:
    return os.path.expanduser(text)


def _one_of(*allowed: str) -> Callable[[str], str]:
    """A parser of one of these words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text

    return parse


# A parser raises ValueError with what it allows.
_PARSERS: dict[str, Callable[[str], Any]] = {
    "debug": _level(5),
    "dump": _names,
    "dump_dir": _path,
    "disable": _names,
    "verify": _level(2),
    "interpret": _switch,
    "cache": _switch,
    "cache_dir": _path,
    "cuda_compiler": _one_of("llvm", "numba-cuda", "numba-cuda-mlir"),
}


def _variable(name: str) -> str:
    return f"GRADLOOM_{name.upper()}"


def _parse(name: str, text: str, label: str) -> Any:
    try:
        return _PARSERS[name](text)
    except ValueError as error:
        raise SettingError(f"{label} is {text!r}; it must be {error}") from None


def _text(value: object) -> str:
    """A setting given in Python, as it would stand in the environment."""
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(value) if isinstance(value, tuple | list) else str(value)


def read(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment asks for; an empty variable counts as one not set.

    >>> read({"GRADLOOM_DEBUG": "2", "GRADLOOM_DISABLE": "fuse,simplify"}).disable
    ('fuse', 'simplify')
    >>> read({"GRADLOOM_VERIFY": "9"})
    Traceback (most recent call last):
    gradloom.errors.SettingError: GRADLOOM_VERIFY is '9'; it must be one of 0, 1, 2
    """
    given = {name: environment.get(_variable(name), "").strip() for name in _PARSERS}
    known = {_variable(name) for name in _PARSERS}
    for variable in sorted(environment):
        if variable.startswith("GRADLOOM_") and variable not in known:
            warnings.warn(
                f"{variable} is no setting; there are {', '.join(sorted(known))}", stacklevel=2
            )
    return Settings(**{k: _parse(k, text, _variable(k)) for k, text in given.items() if text})


_AT_IMPORT = read(os.environ)
_current: ContextVar[Settings] = ContextVar("gradloom settings", default=_AT_IMPORT)


current: Callable[[], Settings] = _current.get  # the settings in force here


@contextmanager
def settings(**changes: Any) -> Iterator[Settings]:
    """Change settings for the length of a `with` block, in this thread or task only.

    >>> with settings(debug=3, disable=("fuse",)) as inside:
    ...     inside.debug
    3
    >>> with settings(verify=7):
    ...     pass
    Traceback (most recent call last):
    gradloom.errors.SettingError: verify is '7'; it must be one of 0, 1, 2
    """
    unknown = sorted(changes.keys() - set(Settings._fields))
    if unknown:
        raise SettingError(f"{unknown[0]} is no setting; there are {', '.join(_PARSERS)}")
    parsed = {name: _parse(name, _text(value), name) for name, value in changes.items()}
    token = _current.set(_current.get()._replace(**parsed))
    try:
        yield _current.get()
    finally:
        _current.reset(token)
