"""The table of functions: complete, true and not stale."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import gradloom
from gradloom.__main__ import main
from gradloom.coverage import names
from gradloom.coverage.calls import BY_NAME, CALLS, MATRIX
from gradloom.coverage.document import COLUMNS, document, summary
from gradloom.coverage.standard import SECTIONS
from gradloom.coverage.trial import NO_CALL, facts
from gradloom.ops.absent import ABSENT

ROOT = Path(__file__).parents[1]
EVERY = {
    f"{name}.{shown}": value
    for name, module in names.modules().items()
    for shown, value in names.functions(name, module)
}
TRACED = {
    name: value
    for name, value in EVERY.items()
    if not name.startswith("optim.")
    and not inspect.isclass(value)
    and all(getattr(home, name.split(".")[-1], None) is not value for home in (np, np.fft))
}


def test_every_name_of_the_standard_and_of_numpy_is_there_or_absent_for_a_reason():
    assert names.unaccounted() == []
    assert names.present_after_all() == []


def test_reasons_are_repairs():
    for name, reason in ABSENT.items():
        assert len(reason) > 10, name
        assert not reason.endswith("."), name


def test_the_standard_is_that_of_2024():
    assert len(names.standards()) == len(set(names.standards()))
    assert {name: len(section) for name, section in SECTIONS.items()}["Creation functions"] == 16
    numpys = set(names.numpys())
    ours_alone = {name for name in names.standards() if name not in numpys}
    assert ours_alone == {"__array_namespace_info__"}


@pytest.mark.parametrize("name", sorted(TRACED))
def test_every_function_has_a_call_that_traces_and_a_summary(name):
    assert facts(name, TRACED[name]) != NO_CALL, f"give it arguments in coverage/calls.py: {name}"
    assert 5 < len(summary(TRACED[name])) < 500


def test_calls_are_of_functions_there_are():
    assert not set(CALLS) - set(TRACED)
    required = {
        parameter.name
        for name, value in TRACED.items()
        if name not in CALLS
        for parameter in inspect.signature(value).parameters.values()
        if parameter.default is parameter.empty
    }
    assert not set(BY_NAME) - required


@pytest.mark.parametrize(
    ("name", "form", "dtypes", "orders"),
    [
        ("numpy.tanh", "row `tanh`", "any", "any"),
        ("numpy.floor", "row `floor`", "any", "piecewise constant"),
        ("numpy.argmax", "composite", "bool, integer, float", "0"),
        ("numpy.matmul", "row `contract`", None, "any"),
        ("numpy.softmax", "composite", None, "any"),
        ("numpy.shape", "static", None, "0"),
        ("random.normal", "composite", "uint32", "0"),
    ],
)
def test_facts(name, form, dtypes, orders):
    found = facts(name, TRACED[name])
    assert (found.form, found.orders) == (form, orders)
    assert dtypes in (None, found.dtypes)


def test_what_has_one_derivative_or_none():
    def rounded(x):
        return gradloom.numpy.astype(x, "int32")

    assert facts("", rounded).orders == "0"
    assert facts("", lambda x: gradloom.numpy.rint(x) * 2.0).orders == "piecewise constant"
    assert facts("", lambda x: x * x).orders == "any"
    assert facts("", lambda x: x.no_such_attribute) == NO_CALL
    assert MATRIX.shape == (4, 4)


def test_the_document_is_what_the_functions_are(tmp_path, capsys):
    text = document()
    written = ROOT / "docs" / "functions.md"
    stale = "write it anew: python -m gradloom functions --write docs/functions.md"
    assert written.read_text(encoding="utf-8") == text, stale
    assert main(["functions", "--write", str(tmp_path / "made" / "functions.md")]) == 0
    assert (tmp_path / "made" / "functions.md").read_text(encoding="utf-8") == text
    assert main(["functions"]) == 0
    assert capsys.readouterr().out == text + "\n"


def test_the_document_has_a_row_for_every_function():
    text = (ROOT / "docs" / "functions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \|(.*)\|$", text, re.MULTILINE)
    assert len(rows) == len(EVERY) + len(names.transforms())
    for name, cells in rows:
        assert len(re.split(r"(?<!\\)\|", cells)) in (2, len(COLUMNS) - 1), name
    assert all(f"`{name}`" in text for name in ABSENT)
