"""What the parser makes of PTX."""

import pytest

from tests.ptx import PtxError
from tests.ptx.parser import parse
from tests.ptx.snippets import HEAD, kernel
from tests.ptx.syntax import Address, Label, Literal, Register, Special, Symbol, Vector


def body(text: str):
    return parse(kernel(text)).functions["k"].body[5:]


def test_operands():
    load, move, compare, branch = body(
        "ld.global.v2.f32 {%f1, %f2}, [%d1+-8];\n"
        "mov.u32 %r1, %tid.x;\n"
        "setp.lt.and.s32 %p1|%p2, %r1, -5, !%p3;\n"
        "@!%p1 bra $done;\n$done:"
    )[:4]
    assert load.operands == (
        Vector((Register("%f1", "f32"), Register("%f2", "f32"))),
        Address(Register("%d1", "b64"), -8),
    )
    assert move.operands[1] == Special("%tid.x")
    assert compare.operands[0] == Vector((Register("%p1", "pred"), Register("%p2", "pred")))
    assert compare.operands[2:] == (Literal(-5), Register("%p3", "pred", negated=True))
    assert branch.guard == Register("%p1", "pred", negated=True)
    assert branch.operands == (Label("$done"),)


def test_floats_are_bits():
    move, other = body("mov.f32 %f1, 0f3F800000;\nmov.f64 %g1, 0dBFF0000000000000;")[:2]
    assert move.operands[1] == Literal(0x3F800000, "f32")
    assert other.operands[1] == Literal(0xBFF0000000000000, "f64")


def test_names_end_with_their_braces():
    text = (
        "{ .reg .b32 %t; mov.b32 %t, 1; L: bra L; }\n{ .reg .f32 %t; mov.f32 %t, 0f00000000; L: }"
    )
    first, jump, second = body(text)[:3]
    assert first.operands[0].name != second.operands[0].name
    assert second.operands[0].type == "f32"
    labels = parse(kernel(text)).functions["k"].labels
    assert len(labels) == 2
    assert jump.operands[0].name in labels


def test_variables():
    syntax = parse(
        HEAD + ".extern .shared .align 16 .b8 dynamic[];\n"
        ".global .align 4 .b8 bytes[4] = {1, 2, 255};\n"
        ".const .f32 half = 0f3F000000;\n"
        ".global .u64 pointer[2] = {bytes, bytes+2};\n"
        ".shared .align 4 .f32 tile[8][4];\n"
    )
    variables = syntax.variables
    assert variables["dynamic"].dynamic
    assert variables["bytes"].initial == b"\x01\x02\xff\x00"
    assert variables["half"].initial == b"\x00\x00\x00\x3f"
    assert variables["pointer"].symbols == ((0, Symbol("bytes")), (8, Symbol("bytes", 2)))
    assert variables["tile"].size == 128


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("add.u32 %r1, %r2, %nothing;", "line 19: register %nothing is not declared"),
        ("add.u32 %r1, %r2", "expected"),
        ("add.u32 %r1, `;", "cannot read"),
        ("{ mov.u32 %r1, 1;", "not closed"),
        ("cp.async.bulk.tensor [%d1, {%r1}];", "tensor coordinates"),
    ],
)
def test_errors_name_the_line(text, reason):
    with pytest.raises(PtxError, match=reason):
        parse(kernel(text))


def test_comments_and_debug_lines_are_skipped():
    text = '.loc 1 2 3\n/* a\nb */ .pragma "nounroll";\n// c\nexit;\0'
    assert [instruction.opcode for instruction in body(text)] == ["exit", "ret"]
