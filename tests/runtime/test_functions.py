"""Native functions of gradloom's own."""

import pytest

from gradloom.runtime import cache
from gradloom.runtime.functions import native

TEXT = "define i64 @twice(i64 %n) {\n  %m = add i64 %n, %n\n  ret i64 %m\n}\n"


def test_a_function_is_made_once_and_then_read(monkeypatch):
    native.cache_clear()
    assert native("twice", TEXT, ("i64",))(21) == 42
    native.cache_clear()

    def never(*_):
        pytest.fail("it is in the cache")

    monkeypatch.setattr(cache, "store", never)
    assert native("twice", TEXT, ("i64",))(-4) == -8
