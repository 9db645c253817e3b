"""The arena as a picture and a table."""

from xml.etree import ElementTree

from gradloom.errors import Where
from gradloom.ir.types import TensorType
from gradloom.plan.draw import arena_svg, memory_table, side_by_side
from gradloom.plan.plan import Buffer, Kernel, Plan

SVG = "{http://www.w3.org/2000/svg}"
LINE = Where("/home/ada/model<1>.py", 7, "loss")


def plan():
    def buffer(name, space, size, *numbers):
        return Buffer(name, space, TensorType((size,), "float32"), *numbers, LINE)

    buffers = (
        buffer("w", "state", 16, 0, 0, 2),
        buffer("h1", "arena", 64, 64, 0, 1),
        buffer("h2", "arena", 16, 0, 1, 2),
        buffer("g1", "arena", 30, 64, 2, 2),
    )
    kernels = tuple(Kernel(f"k{n}", (), 0, (LINE,), 0) for n in range(3))
    return Plan(kernels, buffers, 320, 5)


def boxes(svg):
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        if rect is not None:
            name = group.find(f"{SVG}title").text
            found[name.split(":")[0]] = {
                key: float(rect.get(key)) for key in ("x", "y", "width", "height")
            } | {"tip": name}
    return found


def test_boxes_stand_at_their_times_and_bytes():
    found = boxes(arena_svg(plan()))
    assert list(found) == ["h1", "h2", "g1"]
    h1, h2, g1 = found.values()
    assert h1["tip"] == "h1: float32[64]\n256 bytes at 64\nkernels 0 to 1\nmodel<1>.py:7 in loss"
    assert abs(h1["height"] - 4 * h2["height"]) < 0.5
    assert h1["width"] == h2["width"] == 2 * g1["width"]
    assert abs(h2["x"] - h1["x"] - g1["width"]) < 0.2
    bottom = {name: box["y"] + box["height"] for name, box in found.items()}
    assert abs(bottom["h1"] - bottom["g1"]) < 0.2
    assert bottom["h2"] > bottom["h1"]


def test_totals():
    assert side_by_side(plan()) == 256 + 64 + 128
    assert "arena 320 bytes of 448 side by side" in arena_svg(plan())
    assert arena_svg(plan()) == arena_svg(plan())


def test_a_plan_without_memory():
    empty = Plan((), (), 0, 0)
    assert boxes(arena_svg(empty)) == {}
    assert memory_table(empty).splitlines()[-1].split() == ["side", "by", "side", "0", "bytes"]


def test_table():
    assert memory_table(plan()) == (
        "buffer  space  type         bytes  offset  born  dies  line\n"
        f"{'-' * 76}\n"
        "w       state  float32[16]     64       0     0     2  model<1>.py:7 in loss\n"
        "h1      arena  float32[64]    256      64     0     1  model<1>.py:7 in loss\n"
        "h2      arena  float32[16]     64       0     1     2  model<1>.py:7 in loss\n"
        "g1      arena  float32[30]    120      64     2     2  model<1>.py:7 in loss\n"
        "arena         320 bytes\n"
        "side by side  448 bytes\n"
    )
