"""The rules that a machine can check; each failure lists every place that breaks one."""

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gradloom.errors
import gradloom.ops
from gradloom.ir.op import OPS

ROOT = Path(gradloom.errors.__file__).parent
LAYERS = (
    *("ir", "frontend", "ops", "autodiff", "control", "passes"),
    *("plan", "codegen", "runtime", "train"),
)
LEAVES = (
    "errors.py",
    "version.py",
    "clock.py",
    "settings.py",
)  # in order: each may use those before it
LINES = 450
# The words of this file are LLVM's instructions, some of which have the names of operators.
SPEAKS_LLVM = ROOT / "codegen" / "lanes.py"
FILES = sorted(ROOT.rglob("*.py"))

# `import gradloom` is paid by every process, also by one that finds its program in the cache.
HEAVY = {"numba", "scipy", "sklearn", "matplotlib", "tqdm", "pandas", "torch", "onnx", "mpi4py"}
HEAVY |= {"cuda", "numba_cuda", "numba_cuda_mlir"}


@cache
def nodes_of(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text())))


def place(file: Path, node: ast.AST) -> str:
    return f"{file.relative_to(ROOT)}:{node.lineno}"


def imports(file: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every imported dotted name, in functions too."""
    for node in nodes_of(file):
        if isinstance(node, ast.ImportFrom):
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)


def own_imports(file: Path) -> Iterator[tuple[ast.AST, str]]:
    """The first word after `gradloom.` of what is imported from gradloom."""
    for node, name in imports(file):
        if name.startswith("gradloom."):
            yield node, name.split(".")[1]


def assert_none(wrong: list[str]) -> None:
    assert not wrong, "\n" + "\n".join(wrong)


def test_imports_point_left():
    assert_none(
        [
            f"{place(file, node)} imports {layer}"
            for home in LAYERS
            for file in (ROOT / home).rglob("*.py")
            for node, layer in own_imports(file)
            if layer in LAYERS and LAYERS.index(layer) > LAYERS.index(home)
        ]
    )


def test_the_lowest_files_import_only_each_other():
    assert_none(
        [
            f"{place(ROOT / name, node)} imports {found}"
            for i, name in enumerate(LEAVES)
            for node, found in own_imports(ROOT / name)
            if f"{found}.py" not in LEAVES[:i]
        ]
    )


def test_every_folder_is_a_layer_or_public():
    folders = {file.parent.relative_to(ROOT).parts[0] for file in FILES if file.parent != ROOT}
    assert set(LAYERS) - folders == set()
    assert_none(
        sorted({f"{file.parent} has no __init__.py" for file in FILES if not has_init(file)})
    )


def has_init(file: Path) -> bool:
    return (file.parent / "__init__.py").exists()


def test_imports_are_absolute():
    assert_none(
        [
            f"{place(file, node)} imports relatively"
            for file in FILES
            for node in nodes_of(file)
            if isinstance(node, ast.ImportFrom) and node.level
        ]
    )


def test_no_operator_is_known_by_name_after_ops():
    for module in pkgutil.walk_packages(gradloom.ops.__path__, "gradloom.ops."):
        importlib.import_module(module.name)
    assert OPS
    without_rows = [home for home in LAYERS[3:] if home != "control"]
    assert_none(
        [
            f"{place(file, node)} names {node.value!r}"
            for home in without_rows
            for file in (ROOT / home).rglob("*.py")
            if file != SPEAKS_LLVM
            for node in nodes_of(file)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in OPS
        ]
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_can_be_read_whole(file: Path):
    assert len(file.read_text().splitlines()) <= LINES


def test_only_settings_read_the_environment():
    names = {"environ", "environb", "getenv", "putenv"}
    assert_none(
        [
            f"{place(file, node)} reads the environment"
            for file in FILES
            if file != ROOT / "settings.py"
            for node in nodes_of(file)
            if (isinstance(node, ast.Attribute) and node.attr in names)
            or (isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names})
        ]
    )


# Who imports what may not be there, or takes long.
CUDA = ROOT / "runtime" / "cuda"
COMPILERS = {
    "numba": (ROOT / "runtime" / "build.py", CUDA / "toolchain.py"),
    "numba_cuda_mlir": (CUDA / "toolchain.py",),
    "cuda": (CUDA / "linker.py", CUDA / "driver.py"),
}


def test_compilers_and_the_driver_have_one_importer_each():
    assert_none(
        [
            f"{place(file, node)} imports {name}"
            for file in FILES
            for node, name in imports(file)
            if file not in COMPILERS.get(name.split(".")[0], (file,))
        ]
    )


def test_importing_gradloom_imports_nothing_heavy():
    script = f"import sys, gradloom; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    assert found.stdout.split() == []


def test_what_is_often_not_needed_is_imported_when_it_is_asked_for():
    script = """
import sys, numpy as np, gradloom as gl
late = ("gradloom.stats", "gradloom.special", "gradloom.linalg", "gradloom.numpy.linalg")
print(*(name for name in late if name in sys.modules))
gl.special.erf, gl.stats.norm, gl.linalg.lu, gl.numpy.linalg.inv, gl.numpy.fft.fft
print(*(name for name in late if name not in sys.modules))
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    assert found.stdout.split() == []


def test_what_is_late_is_declared_to_those_who_read_types():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    declared = {
        (node.module.removeprefix("gradloom.").removeprefix("gradloom"), alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        for alias in node.names
        if alias.asname == alias.name
    }
    homes = {(module, name) for name, module in gradloom._HOMES.items()}
    modules = {(p.rpartition(".")[0], p.rpartition(".")[2]) for p in gradloom._MODULES.values()}
    assert declared == homes | modules
    assert all(getattr(gradloom, name) is not None for name in gradloom.__all__)
    assert set(dir(gradloom)) == set(gradloom.__all__)


def test_nothing_is_left_for_later():
    marks = ("TO" + "DO", "FIX" + "ME", "X" * 3)
    assert_none(
        [
            f"{file.relative_to(ROOT)}:{number} {mark}"
            for file in FILES
            for number, line in enumerate(file.read_text().splitlines(), 1)
            for mark in marks
            if mark in line
        ]
    )
