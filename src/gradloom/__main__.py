"""The command `gradloom`: demo, inspect, functions, cache, doctor."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Sequence
from inspect import unwrap
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import GradloomError
from gradloom.ir.types import DTYPES
from gradloom.version import VERSION

if TYPE_CHECKING:
    from gradloom.program import Program

SHAPE = re.compile(r"\s*(\w+)\s*\[\s*((?:\d+\s*(?:,\s*\d+\s*)*)?)\]\s*")
EXCERPT = 40  # lines shown of a driver


class UsageError(Exception):
    """What the person at the terminal has to write differently."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        status: int = chosen.command(chosen)
    except UsageError as error:
        parser.error(str(error))
    except GradloomError as error:
        print(f"gradloom: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("gradloom", description="Training loops as native code.")
    parser.add_argument("--version", action="version", version=f"gradloom {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="train on real digits, and report what was done")
    demo.add_argument("--epochs", type=_positive, help="passes over the images, instead of enough")
    demo.add_argument("--out", type=Path, default=Path("gradloom-demo"), help="for the pictures")
    demo.set_defaults(command=_demo)

    inspect = commands.add_parser("inspect", help="explain the program of a function of yours")
    inspect.add_argument("target", metavar="FILE:FUNCTION", help="such as model.py:loss")
    inspect.add_argument(
        "--shapes",
        help='types of its arguments, such as "float32[64,10],int32[64]"; else those of the '
        "file's example_args, a tuple of arguments (for a training step: params, then a batch)",
    )
    inspect.add_argument("--out", type=Path, default=Path("gradloom-inspect"), help="for files")
    inspect.set_defaults(command=_inspect)

    functions = commands.add_parser("functions", help="list every function and what it can do")
    functions.add_argument("--write", metavar="FILE", type=Path, help="instead of printing")
    functions.set_defaults(command=_functions)

    cache = commands.add_parser("cache", help="where compiled programs are kept, and their size")
    cache.add_argument("--clear", action="store_true", help="delete them")
    cache.set_defaults(command=_cache)

    doctor = commands.add_parser("doctor", help="what is found here, and what repairs its faults")
    doctor.set_defaults(command=_doctor)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _say(line: str) -> None:
    print(line, flush=True)


# ---- commands


def _demo(chosen: argparse.Namespace) -> int:
    from gradloom.demo import demo

    _say(f"gradloom {VERSION}: forward, reverse and update in one native call")
    demo(chosen.out, _say, chosen.epochs)
    return 0


def _inspect(chosen: argparse.Namespace) -> int:
    from gradloom.inspection import draw, explain, memory, source

    file, name = _target(chosen.target)
    module = _module(file)
    function = _function(module, file, name)
    given = _arguments(function, module, file, chosen.shapes)
    program = _program(function, file, name, given)
    _say(f"{file}:{name}\n")
    _say(explain(program))
    _say(str(memory(program)))
    chosen.out.mkdir(parents=True, exist_ok=True)
    text = chosen.out / f"{name}_source.py"
    text.write_text(source(program), encoding="utf-8")
    lines = program.driver.splitlines()
    lines = lines[next(n for n, line in enumerate(lines) if line.startswith("def program")) :]
    _say("\n".join(lines[:EXCERPT]))
    _say(f"...\n\nthe whole of it: {text}")
    _say("pictures: " + ", ".join(map(str, draw(program).save(chosen.out / name))))
    return 0


def _functions(chosen: argparse.Namespace) -> int:
    from gradloom.coverage.document import document

    text = document()
    if chosen.write is None:
        _say(text)
    else:
        chosen.write.parent.mkdir(parents=True, exist_ok=True)
        chosen.write.write_text(text, encoding="utf-8")
    return 0


def _cache(chosen: argparse.Namespace) -> int:
    from gradloom.runtime import cache

    place = cache.directory()
    files = sorted(place.glob("??/*.o"))
    size = sum(file.stat().st_size for file in files)
    if chosen.clear:
        for file in files:
            file.unlink(missing_ok=True)
        _say(f"{place}: deleted {len(files)} entries (plans and programs), {size:,} bytes")
    else:
        _say(f"{place}: {len(files)} entries (plans and programs), {size:,} bytes")
    return 0


def _doctor(chosen: argparse.Namespace) -> int:
    from gradloom.doctor import examine

    report = examine()
    _say(str(report))
    return 0 if report.cpu else 1


# ---- what to inspect


def _target(text: str) -> tuple[Path, str]:
    file, colon, name = text.rpartition(":")
    if not colon or not file or not name.isidentifier():
        raise UsageError(f"{text!r} is not FILE:FUNCTION, such as model.py:loss")
    if not Path(file).is_file():
        raise UsageError(f"there is no file {file}")
    return Path(file), name


def _module(file: Path) -> ModuleType:
    """The user's file, imported as if it stood on the path."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def _function(module: ModuleType, file: Path, name: str) -> Any:
    function = getattr(module, name, None)
    if callable(function):
        return function
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__)
    offered = [n for n in own if callable(getattr(module, n))]
    what = "is not a function" if hasattr(module, name) else "does not exist"
    raise UsageError(f"{name} {what} in {file}; there are {', '.join(offered) or 'no functions'}")


def _arguments(
    function: Any, module: ModuleType, file: Path, shapes: str | None
) -> tuple[Any, ...]:
    """Example arguments, from --shapes or from the file."""
    if shapes is not None:
        if hasattr(function, "init"):
            raise UsageError(f"for a training step set example_args = (params, *batch) in {file}")
        return examples(shapes)
    if hasattr(module, "example_args"):
        return tuple(module.example_args)
    raise UsageError(f"give --shapes, or set example_args = (...) in {file}")


def examples(text: str) -> tuple[np.ndarray, ...]:
    """Arrays of the given types: floats are normal numbers, others zeros.

    >>> [x.shape for x in examples("float32[64,10], int32[]")]
    [(64, 10), ()]
    """
    rng = np.random.default_rng(0)
    arrays, at = [], 0
    while at < len(text):
        found = SHAPE.match(text, at)
        if found is None or found[1] not in DTYPES:
            raise UsageError(
                f"--shapes {text!r}: {text[at:]!r} does not begin with a type such as "
                f"float32[64,10]; dtypes are {', '.join(DTYPES)}"
            )
        shape = tuple(int(size) for size in found[2].split(",") if size.strip())
        kind = np.dtype(found[1])
        values = rng.standard_normal(shape) if kind.kind == "f" else np.zeros(shape)
        arrays.append(np.asarray(values, kind))
        at = found.end()
        at += text[at : at + 1] == ","
    return tuple(arrays)


def _program(function: Any, file: Path, name: str, arguments: tuple[Any, ...]) -> Program:
    """The program of what compiles, or of a plain function under `jit`."""
    from gradloom.jitted import jit
    from gradloom.train.state import State
    from gradloom.train.step import TrainStep

    if isinstance(function, TrainStep) and not isinstance(arguments[0], State):
        arguments = (function.init(arguments[0]), *arguments[1:])
    compiled = function if hasattr(function, "program") else jit(function)
    # Called as if from the function's own first line, which is what values without a line of
    # their own then show: arguments, and the update of a training step.
    first = getattr(getattr(unwrap(function), "__code__", None), "co_firstlineno", 1)
    text = "\n" * (first - 1) + f"def {name}(call, given): return call(*given)"
    names: dict[str, Any] = {}
    exec(compile(text, str(file), "exec"), names)
    program: Program = names[name](compiled.program, arguments)
    return program


if __name__ == "__main__":
    sys.exit(main())
