"""The driver's language lowered here: as Python runs it, and as Numba compiles it."""

import ctypes
from unittest import mock

import llvmlite.binding as llvm
import numpy as np
import pytest

import gradloom as gl
from gradloom import pipeline
from gradloom.clock import Clock
from gradloom.codegen import driver
from gradloom.codegen.primitives import namespace
from gradloom.runtime import build
from gradloom.runtime.build import lower_by_numba
from gradloom.runtime.compile import driver_texts
from gradloom.runtime.load import load
from gradloom.runtime.lowering import Unlowered, lower_text
from gradloom.runtime.native import make_object
from gradloom.settings import settings

WORDS = 64


def native(texts, kinds):
    return load(make_object(texts, ("run",), "", "", Clock()).object, "run", kinds)


def results(text, *numbers):
    """What `run(*numbers, words)` returns and leaves in memory: in Python, lowered, by Numba."""
    kinds = ("i64",) * len(numbers) + ("ptr",)
    names = namespace()
    exec(text, names)
    words = np.arange(WORDS)
    found = [(names["run"](*numbers, words.view(np.uint8)), words.tolist())]
    for texts in (
        [lower_text(text, "run", kinds, {})],
        lower_by_numba(text, "run", kinds, {}),
    ):
        words = np.arange(WORDS)
        status = native(texts, kinds)(*numbers, words.ctypes.data)
        found.append((status, words.tolist()))
    return found


TEXTS = {
    "arithmetic": """
def run(a, b, x):
    put(x, 0, (a + b) * 3 - (a << 2))
    put(x, 1, (a >> 1) ^ (b & 7) | 8)
    put(x, 2, a // 3 + (a % 3) * 100)
    put(x, 3, b // -4 - b % -4)
    put(x, 4, -a + ~b)
    return a - 2 * 3 + 4
""",
    "loops": """
def run(a, b, x):
    total = 0
    for i in range(a):
        for j in range(i, 2 * i, 2):
            if j == 3:
                continue
            if j > 9:
                break
            total += i * j
        i = 100
    for k in range(10, b, -3):
        total = total * 2 + k
    for k in range(0, 30, 2 * a + 1):
        total += k
    for k in range(30, 0, -1 - a):
        total += k
    n = 0
    while True:
        n += 1
        if n * n > total:
            break
        else:
            put(x, n % 8, n)
    while n > a:
        n = n - a - 1
    return total + n
""",
    "choices": """
def run(a, b, x):
    big = a > b
    put(x, 0, a if a < b else b)
    if a < 0 or b < 0 or not big:
        put(x, 1, 7)
    elif a > 2 and b != 3:
        put(x, 1, 8)
    else:
        pass
    if a:
        put(x, 2, 5)
    if b > 0 and get(x, b) == b:
        return 1
    return big
""",
    "helpers": """
def twice(x):
    return x + x

def note(x, at, value):
    put(view(x, 8), at, value)

def three(x):
    if x > 3:
        return 3
    return twice(x)

def run(a, b, x):
    note(x, 0, twice(a))
    note(x, 1, three(b))
    copy(x, 80, x, 0, 16)
    zero(view(x, 160), 24)
    return twice(twice(b))
""",
    "floats": """
def run(a, b, x):
    sum = 0.5
    for i in range(a):
        sum = sum * 1.25 + i / 4.0
    store_float64(x, 3, sum)
    store_float32(x, 12, sum - 2 * load_float64(x, 3))
    if sum != sum or sum > 3.0:
        store_int32(x, 0, 5)
    store_float64(x, 9, math_exp(-sum))
    return load_int32(x, 2)
""",
}


@pytest.mark.parametrize("numbers", [(3, 5), (5, 3), (7, -2), (0, 1)])
@pytest.mark.parametrize("name", TEXTS)
def test_it_does_what_python_and_numba_do(name, numbers):
    plain, lowered, compiled = results(TEXTS[name], *numbers)
    assert lowered == plain
    assert compiled == plain


def test_the_shuffle_is_that_of_the_driver():
    text = driver.SHUFFLE_TEXT + (
        "def run(rows, low, order):\n    shuffle(order, rows, low, 77, 3)\n    return 0\n"
    )
    plain, lowered, compiled = results(text, 50, 12345)
    assert lowered == plain
    assert compiled == plain
    assert sorted(plain[1][:50]) == list(range(50))


def test_functions_that_are_defined_elsewhere():
    text = "def run(n, x):\n    fill(0, n, x)\n    return count(n)\n"
    defined = """
define void @fill(i64 %a, i64 %b, ptr %x) {
  store i64 %b, ptr %x
  ret void
}
define i64 @count(i64 %a) {
  %b = mul i64 %a, 3
  ret i64 %b
}
"""
    externals = {"fill": ("void", ("i64", "i64", "ptr")), "count": ("i64", ("i64",))}
    lowered = lower_text(text, "run", ("i64", "ptr"), externals)
    word = ctypes.c_int64(0)
    assert native([defined, lowered], ("i64", "ptr"))(14, ctypes.addressof(word)) == 42
    assert word.value == 14


@pytest.mark.parametrize(
    "body",
    [
        "return [1]",
        "return a.real",
        "return other",
        "return nothing(a)",
        "return 1.5",
        "return a ** 2",
        "return get(a, 0)",
        "return view(x)",
        "b = 1\n    b = 1.5\n    return 0",
        "for i in (1, 2):\n        pass\n    return 0",
        "a, b = 1, 2\n    return a",
        "return 1 < a < 3",
        "return a if a < 2 else get(x, 0)",
        "raise ValueError",
        "return",
        "get",
    ],
)
def test_what_is_beyond_the_language_is_said(body):
    with pytest.raises(Unlowered):
        lower_text(f"def run(a, x):\n    {body}\n", "run", ("i64", "ptr"), {})


def test_what_is_beyond_the_language_is_numbas():
    text = "def run(a, x):\n    b = 1\n    b = b * 0.5\n    return 0 if b < a < 3 else 5\n"
    texts = driver_texts(text, "run", ("i64", "ptr"), {})
    assert native(texts, ("i64", "ptr"))(1, 0) == 0
    assert native(texts, ("i64", "ptr"))(4, 0) == 5


def test_the_text_is_a_module_of_its_own():
    llvm.parse_assembly(lower_text(TEXTS["helpers"], "run", ("i64", "i64", "ptr"), {}))


@pytest.mark.slow
def test_numba_compiles_whole_training_steps_to_the_same_bits():
    def loss(params, x, y):
        hidden = np.tanh(x @ params["w"])
        return (((hidden @ params["v"])[:, 0] - y) ** 2).mean()

    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(5, 24)), "v": rng.normal(size=(24, 1))}
    data = rng.normal(size=(50, 5)), rng.normal(size=50)

    def trained(**options):
        with settings(cache=False, **options):
            step = gl.train_step(loss, gl.optim.adam(1e-2))
            state = step.init(params)
            key = gl.random.key(0)
            state, history = step.fit(state, data, batch_size=16, epochs=3, shuffle=key)
        return history["loss"], state.params

    ours = trained()
    pipeline._loaded.clear()
    with mock.patch.object(build, "lower_by_numba", side_effect=build.lower_by_numba) as lowered:
        theirs = trained(disable=["lower_text"])
    pipeline._loaded.clear()
    assert lowered.called
    np.testing.assert_array_equal(ours[0], theirs[0])
    for name in params:
        np.testing.assert_array_equal(ours[1][name], theirs[1][name])
