"""What works with which CUDA compiler: `docs/toolchains.md`, a column of which is an environment.

    python -m tests.toolchains                 # all compilers that are installed here
    python -m tests.toolchains numba-cuda sort # one of them, the rows with this in their names

Each entry is a program whose stages a compiler makes of their Python text; it is linked, where the
linker is installed, and run by the interpreter of PTX beside the same program by LLVM and on the
CPU.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import ToolchainError
from gradloom.ir.interpret import interpret
from gradloom.pipeline import compile_graph
from gradloom.runtime.cuda.cubins import linked
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings
from tests.gpus import Simulated
from tests.interpreting import assert_close
from tests.ops.test_every_row import ELEMENTWISE, ROUGH, ULPS, together
from tests.runtime.cuda.test_every_row import cases_of

TABLE = Path(__file__).parents[1] / "docs" / "toolchains.md"
COMPILERS = ("numba-cuda", "numba-cuda-mlir")
SAME, CLOSE = "same bits", "agrees"
ARCH = "sm_90"
COSTLY = 100  # operators from here on take these compilers seconds each, and are left out
Results = dict[str, str]  # by row of the table

HEAD = """\
# What works with which CUDA compiler

Written by `python -m tests.toolchains`, which replaces the columns of the environment that it runs
in. `GRADLOOM_CUDA_COMPILER` chooses: `llvm`, the default, needs no package and takes everything;
with `numba-cuda` or `numba-cuda-mlir` the stages of a program are compiled from their Python text
(`.kernels()`), and the driver that calls them, routines such as sorting among it, by LLVM.

No GPU has run any of this: "same bits" and "agrees" are said of PTX for {arch} that the tests'
interpreter ran. "Same bits": as the stages by LLVM. "Agrees": within the tests' bounds of the CPU.
All but training and the operators was also linked to machine code by nvJitLink. NumPy 2.5 needs
Python 3.12.

"""

RNG = np.random.default_rng(0)
X = RNG.random((37, 50), np.float32)
LONG = RNG.random(6000)
PICTURES, FILTERS = RNG.random((2, 6, 6, 4), np.float32), RNG.random((3, 3, 4, 8), np.float32)
ROWS = np.array([3, -1, 3])


def _loss(params: Any, x: Any, y: Any) -> Any:
    hidden = gnp.tanh(x @ params["w"])
    return gl.nn.softmax_cross_entropy(hidden @ params["v"], y).mean()


def _trained(device: str) -> list[Any]:
    params = {"w": X[:4, :8] - 0.5, "v": X[:8, 8:11] - 0.5}
    step = gl.train_step(_loss, gl.optim.adam(1e-2), device=device)
    batches = np.stack([X[:8, :4]] * 3), np.stack([np.arange(8) % 3] * 3)
    state, losses = step.run(step.init(params), *batches)
    return [losses, *state.params.values()]


def _convolution(w: Any) -> Any:
    return (gl.nn.conv2d(PICTURES, w, padding="same") ** 2).sum()


KINDS: dict[str, Callable[..., Any]] = {
    "elementwise chain": lambda x: gnp.tanh(x * 2 + 1) / (1 + x),
    "row by a thread": lambda x: x[:, :5].sum(axis=1),
    "row by a warp: softmax": lambda x: gl.nn.softmax(x),
    "fold by a block, float64": lambda x: gnp.sum(LONG * x[0, 0]),
    "fold by a block, bool": lambda x: gnp.any(2 * x[0, 0] < LONG),
    "fold by a warp, int8": lambda x: gnp.max((x * 100).astype("int8"), axis=1),
    "product, float32": lambda x: x @ x.T,
    "product, float64, epilogue": lambda x: gnp.tanh(x.astype("float64") @ x.T.astype("float64")),
    "product, batch": lambda x: x[:36].reshape(4, 9, 50) @ x[:4, :, None],
    "convolution and its gradient": lambda x: gl.value_and_grad(_convolution)(FILTERS * x[0, 0]),
    "moves and joins": lambda x: gnp.concatenate([gnp.pad(x.T[::-1], 1), x.T[:2, :1] @ x[:1, :39]]),
    "gather": lambda x: x[ROWS],
    "scatter, added and largest": lambda x: (x.at[ROWS].add(x[:3]), x.at[ROWS].max(1 - x[:3])),
    "sort (a routine: by LLVM)": lambda x: gnp.sort(x, axis=1),
    "loops: scan, while, cond": lambda x: (
        gl.scan(lambda c, r: (gnp.tanh(c + r), c), x[0], x[:4])[0],
        gl.while_loop(lambda c: gnp.sum(c) < 1e5, lambda c: c * 2, x),
        gl.cond(gnp.sum(x) > 0, lambda x: x + 1, lambda x: x - 1, x),
    ),
    "random numbers": lambda x: gl.random.normal(gl.random.key(3), (40, 7)) + x[0, 0],
}
TRAINING = "training steps with Adam"
TENSORS = "product, bfloat16 (tensor cores)"
OPERATORS = f"{sum(row.cost < COSTLY for row in ELEMENTWISE)} operators, element by element"


def entries(compiler: str) -> dict[str, Callable[[], str]]:
    """What is tried with a compiler, row by row."""
    kinds = {name: partial(_of, function, compiler) for name, function in KINDS.items()}
    return kinds | {
        TRAINING: partial(_training, compiler),
        TENSORS: partial(_of, lambda x: x @ x.T, compiler, precision="bfloat16"),
        OPERATORS: partial(_operators, compiler),
    }


def _tried(run: Callable[[], str]) -> str:
    try:
        return run()
    except ToolchainError:
        return "refused"
    except Exception as error:  # noqa: BLE001 (what a compiler does wrong is what is asked)
        first = str(error).partition("\n")[0]
        return f"{type(error).__name__}: {first}"[:120]


def _leaves(tree: Any) -> list[np.ndarray]:
    parts = tree if isinstance(tree, tuple | list) else (tree,)
    return [leaf for part in parts for leaf in (_leaves(part) if part is not tree else [part])]


def _by(compiler: str, run: Callable[[], Any]) -> list[np.ndarray]:
    with settings(cuda_compiler=compiler), using(Simulated()):
        return [np.asarray(leaf) for leaf in _leaves(run())]


def _said(got: list[np.ndarray], llvm: list[np.ndarray], cpu: list[np.ndarray]) -> str:
    if all(map(np.array_equal, got, llvm)):
        return SAME
    for one, other in zip(got, cpu, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
    return CLOSE


def _of(function: Callable[..., Any], compiler: str, **options: Any) -> str:
    def run() -> Any:
        return gl.jit(function, device="cuda", **options)(X)

    with settings(cuda_compiler=compiler):
        target = gl.jit(function, target=f"cuda-ptx:{ARCH}", **options)
        _link(target.ptx(X))
    cpu = [np.asarray(leaf) for leaf in _leaves(gl.jit(function)(X))]
    return _said(_by(compiler, run), _by("llvm", run), cpu)


def _link(ptx: str) -> None:
    with suppress(PackageNotFoundError):
        version("nvidia-nvjitlink")
        linked([ptx], ARCH)


def _training(compiler: str) -> str:
    def run() -> Any:
        return _trained("cuda")

    cpu = [np.asarray(leaf) for leaf in _trained("cpu")]
    return _said(_by(compiler, run), _by("llvm", run), cpu)


def _operators(compiler: str) -> str:
    """How many operators agree with the reference, and which do not."""
    wrong, count = [], 0
    for row in ELEMENTWISE:
        cases = [case for case in cases_of(row)[:2] if row.cost < COSTLY]
        if not cases:
            continue
        count += 1
        graph, arrays = together(cases)
        with settings(cuda_compiler=compiler), using(Simulated()):
            found = _tried(partial(_checked, graph, arrays, ULPS * ROUGH.get(row.name, 1)))
        if found:
            wrong.append(f"{row.name} ({found})")
    return f"{count - len(wrong)} agree" + (f"; not {', '.join(wrong)}" if wrong else "")


def _checked(graph: Any, arrays: list[np.ndarray], ulps: float) -> str:
    found = compile_graph(graph, device="cuda").executable(arrays)
    for got, want in zip(found, interpret(graph, *arrays), strict=True):
        assert_close(np.asarray(got), want, ulps)
    return ""


# ---- the table


def environment(compiler: str) -> str:
    """The title of a column."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{compiler} {version(compiler)}, Python {python}, NumPy {np.__version__}"


def read(text: str) -> dict[str, Results]:
    """The columns of a table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if not cells:
        return {}
    (_, *titles), _, *rows = cells
    return {title: {row[0]: row[n + 1] for row in rows} for n, title in enumerate(titles)}


def written(columns: dict[str, Results]) -> str:
    """The text of a table."""
    titles = sorted(columns)
    rows = entries("").keys()
    lines = [["", *titles], ["---"] * (1 + len(titles))]
    lines += [[row, *(columns[title].get(row, "") for title in titles)] for row in rows]
    return HEAD.format(arch=ARCH) + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(compilers: Sequence[str] = COMPILERS, part: str = "") -> None:
    """Run with these compilers, as far as they are here, and write the table."""
    # Kernels are kept by compiler, not by what runs it: here each column compiles its own.
    with tempfile.TemporaryDirectory() as folder, settings(cache_dir=folder):
        for compiler in compilers:
            with suppress(PackageNotFoundError):
                _column(compiler, part)


def _column(compiler: str, part: str) -> None:
    title = environment(compiler)
    for name, run in entries(compiler).items():
        if part in name:
            result = _tried(run)
            sys.stdout.write(f"{title}: {name}: {result}\n")
            columns = read(TABLE.read_text()) if TABLE.exists() else {}
            columns.setdefault(title, {})[name] = result
            TABLE.write_text(written(columns))


if __name__ == "__main__":
    main(sys.argv[1:2] or COMPILERS, *sys.argv[2:3])
