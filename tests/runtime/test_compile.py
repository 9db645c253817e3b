import gc
import hashlib
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from gradloom.codegen.primitives import namespace
from gradloom.errors import InternalError
from gradloom.runtime.compile import compile_object
from gradloom.runtime.load import assembly, load
from gradloom.runtime.native import Build

HOST = ("", "")  # a generic processor: what these kernels do needs no more

KERNELS = """
define void @scale(i64 %start, i64 %stop, double %by, ptr %x) noinline {
entry:
  br label %loop
loop:
  %i = phi i64 [ %start, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %stop
  br i1 %more, label %body, label %done
body:
  %place = getelementptr double, ptr %x, i64 %i
  %old = load double, ptr %place
  %new = fmul double %old, %by
  store double %new, ptr %place
  %next = add i64 %i, 1
  br label %loop
done:
  ret void
}
define void @exponential(ptr %x) noinline {
  %old = load double, ptr %x
  %new = call double @llvm.exp.f64(double %old)
  store double %new, ptr %x
  ret void
}
declare double @llvm.exp.f64(double)
"""
KERNEL_ARGUMENTS = {"scale": ("i64", "i64", "f64", "ptr"), "exponential": ("ptr",)}

SHUFFLE = """
def draw(state, bound):
    x = (get(state, 0) * 6364136223846793005 + 1442695040888963407) & 0x7FFFFFFFFFFFFFFF
    put(state, 0, x)
    return (x >> 33) % bound

def shuffle(state, order, count):
    for i in range(count - 1, 0, -1):
        j = draw(state, i + 1)
        held = get(order, i)
        put(order, i, get(order, j))
        put(order, j, held)
    return 0

def unused(a, b):
    return a + b

def run(count, words, table):
    put(words, 1, 5)
    shuffle(words, view(words, 16), count)
    copy(words, 800, get_ptr(table, 1), 8, 16)
    zero(view(words, 816), 8)
    if get(words, 1) != 5:
        return 7
    return get(words, 0)
"""


def compiled(driver: str, *arguments: str, kernels: str = "", **kernel_arguments) -> Build:
    return compile_object(driver, "run", arguments, kernels, kernel_arguments, *HOST)


def call(driver: str, kinds: tuple[str, ...], *values):
    """Compile `driver` with the kernels above, load it and call it."""
    built = compile_object(driver, "run", kinds, KERNELS, KERNEL_ARGUMENTS, *HOST)
    return load(built.object, "run", kinds)(*values)


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_compiled_and_plain_python_do_the_same():
    plain, native = np.arange(200), np.arange(200)
    table = [np.arange(8), np.arange(8) * 3]
    names = namespace()
    exec(SHUFFLE, names)
    wanted = names["run"](90, plain.view(np.uint8), [words.view(np.uint8) for words in table])
    addresses = np.array([address(words) for words in table])
    kinds = ("i64", "ptr", "ptr")
    assert call(SHUFFLE, kinds, 90, address(native), address(addresses)) == wanted
    np.testing.assert_array_equal(native, plain)
    assert not np.array_equal(native[2:92], np.arange(2, 92))
    np.testing.assert_array_equal(np.sort(native[2:92]), np.arange(2, 92))
    assert list(native[100:103]) == [3, 6, 0]


def test_a_driver_calls_kernels():
    driver = """
def run(steps, by, x):
    for step in range(steps):
        scale(1, 3, by, view(x, 8))
    exponential(x)
    return steps
"""
    x = np.ones(6)
    assert call(driver, ("i64", "f64", "ptr"), 3, 2.0, address(x)) == 3
    np.testing.assert_allclose(x, [np.e, 1, 8, 8, 1, 1])


def test_a_helper_may_be_called_with_several_types():
    driver = """
def twice(x):
    return x + x

def run(n, x, words):
    scale(0, 1, twice(x), words)
    return twice(n)
"""
    x = np.ones(1)
    assert call(driver, ("i64", "f64", "ptr"), 21, 1.5, address(x)) == 42
    assert x[0] == 3.0


def test_division_and_remainder_are_pythons():
    driver = "def run(a, b):\n    return (a // b) * 1000 + a % b\n"
    for a, b in ((7, 2), (-7, 2), (7, -2), (-7, -2)):
        assert call(driver, ("i64", "i64"), a, b) == (a // b) * 1000 + a % b


@pytest.mark.parametrize("status", [0, 1, -1, 2**62])
def test_the_status_is_returned(status):
    assert call(f"def run():\n    return {status}\n", ()) == status


def test_a_flag_set_by_another_thread_is_seen():
    driver = """
def run(flags):
    put(flags, 1, 1)
    count = 0
    while get(flags, 0) == 0:
        count += 1
    return count
"""
    flags = np.zeros(2, np.int64)
    run = load(compiled(driver, "ptr").object, "run", ("ptr",))
    thread = threading.Thread(target=run, args=(address(flags),), daemon=True)
    thread.start()
    while flags[1] == 0:  # this thread runs too: the call has released the GIL
        pass
    flags[0] = 1
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_only_the_entry_is_external():
    built = compile_object(SHUFFLE, "run", ("i64", "ptr", "ptr"), KERNELS, KERNEL_ARGUMENTS, *HOST)
    defined = re.findall(r"^define (.*?)@(\w+)", built.llvm, re.MULTILINE)
    assert [name for words, name in defined if "internal" not in words] == ["run"]


def test_an_object_is_the_same_in_every_process():
    script = (
        "import hashlib, sys\n"
        "from gradloom.runtime.compile import compile_object\n"
        "kinds = ('i64', 'ptr', 'ptr')\n"
        "built = compile_object(sys.stdin.read(), 'run', kinds, '', {}, '', '')\n"
        "print(hashlib.sha256(built.object).hexdigest())"
    )
    compiled("def run():\n    return 0\n")  # Numba's count of functions differs from the child's
    here = hashlib.sha256(compiled(SHUFFLE, "i64", "ptr", "ptr").object).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", script], input=SHUFFLE, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == here


@pytest.mark.parametrize("symbol", ["PyList_New", "NRT_incref", "numba_gil_ensure", "system"])
def test_a_foreign_symbol_is_refused(symbol):
    kernels = f"""
declare void @{symbol}(ptr)
define void @kernel(ptr %x) noinline {{
  call void @{symbol}(ptr %x)
  ret void
}}
"""
    driver = "def run(x):\n    kernel(x)\n    return 0\n"
    with pytest.raises(InternalError, match=f"foreign symbols: {symbol}"):
        compiled(driver, "ptr", kernels=kernels, kernel=("ptr",))


def test_a_call_that_only_instruction_selection_makes_is_found():
    kernels = """
define void @kernel(ptr %x) noinline {
  %a = load fp128, ptr %x
  %b = fmul fp128 %a, %a
  store fp128 %b, ptr %x
  ret void
}
"""
    driver = "def run(x):\n    kernel(x)\n    return 0\n"
    with pytest.raises(InternalError, match="foreign symbols: __multf3"):
        compiled(driver, "ptr", kernels=kernels, kernel=("ptr",))


def test_a_kernel_that_is_not_there_is_refused():
    with pytest.raises(InternalError, match="foreign symbols: kernel"):
        compiled("def run(x):\n    kernel(x)\n    return 0\n", "ptr", kernel=("ptr",))


def test_a_kernel_with_a_primitives_name_is_refused():
    with pytest.raises(InternalError, match="names of primitives: copy, zero"):
        compiled("def run():\n    return 0\n", copy=("ptr",), zero=("ptr",))


@pytest.mark.parametrize(
    "driver",
    [
        "def run(x):\n    return nothing(x)\n",
        "def run(x):\n    return get(x)\n",
        "def run(x):\n    return [x]\n",
        "def run(x):\n    if get(x, 0) > 3:\n        raise ValueError\n    return 0\n",
    ],
)
def test_a_wrong_driver_is_refused_with_its_text(driver):
    with pytest.raises(InternalError) as caught:
        compiled(driver, "ptr")
    assert driver in str(caught.value)


def test_an_entry_must_return_an_integer():
    with pytest.raises(InternalError, match="returns float64, not int64"):
        compiled("def run(x):\n    return x\n", "f64")


def test_a_wrong_driver_does_not_spoil_the_next():
    with pytest.raises(InternalError):
        compiled("def h(x):\n    return bad(x)\n\ndef run(x):\n    return h(x)\n", "i64")
    assert call("def h(x):\n    return x\n\ndef run(x):\n    return h(x)\n", ("i64",), 3) == 3


def test_code_lives_as_long_as_its_callable():
    built = compiled("def run(x):\n    return x + 1\n", "i64")
    runs = [load(built.object, "run", ("i64",)) for _ in range(20)]
    last = runs.pop()
    runs.clear()
    gc.collect()
    assert last(41) == 42


def test_threads_may_call_one_function_at_once():
    driver = """
def run(n, words):
    for i in range(n):
        put(words, 0, get(words, 0) + i)
    return get(words, 0)
"""
    run = load(compiled(driver, "i64", "ptr").object, "run", ("i64", "ptr"))
    words = [np.zeros(1, np.int64) for _ in range(4)]
    threads = [threading.Thread(target=run, args=(10_000, address(word))) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {int(word[0]) for word in words} == {sum(range(10_000))}


def test_loading_needs_no_numba():
    built = compiled("def run(x):\n    return x + 1\n", "i64")
    script = (
        "import sys\n"
        "from gradloom.runtime import cache, load\n"
        "run = load.load(sys.stdin.buffer.read(), 'run', ('i64',))\n"
        "assert run(41) == 42\n"
        "cache.host_key()\n"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], input=built.object, env=os.environ, check=True)


def test_llvm_and_assembly_can_be_read():
    built = compiled("def run(x):\n    return x * 3\n", "i64")
    assert "@run" in built.llvm
    assert "run:" in assembly(built.llvm, *HOST)
    assert set(built.seconds) == {"driver", "link", "optimise", "emit"}
