"""A plan's memory as a picture and as a table: who holds which bytes of the arena, and when."""

from __future__ import annotations

from colorsys import hls_to_rgb
from html import escape

from gradloom.plan.arena import padded
from gradloom.plan.plan import Buffer, Plan

CHART_WIDTH, CHART_HEIGHT = 960.0, 420.0
LEFT, TOP, BOTTOM = 92.0, 44.0, 52.0
SLOT = (6.0, 90.0)  # the narrowest and the widest kernel
TICKS = 24  # at most so many kernel numbers along the axis
HUES = 47  # degrees between neighbours: no two of seven in a row look alike
LETTER = 6.1  # width of a letter of 10-pixel monospace


def side_by_side(plan: Plan) -> int:
    """The bytes that the arena's buffers would take if no two shared any, aligned alike."""
    return sum(padded(b.type.nbytes) for b in _arena(plan))


def _arena(plan: Plan) -> list[Buffer]:
    return [b for b in plan.buffers if b.space == "arena"]


# ---- picture


def arena_svg(plan: Plan) -> str:
    """The arena as SVG: kernels from left to right, bytes from the bottom up, a box a buffer.

    The tooltip of a box has the buffer's name, type, bytes, kernels, and the user's line. Boxes
    that cover each other are written in place.
    """
    kernels = max(len(plan.kernels), *(b.dies + 1 for b in _arena(plan)), 1)
    slot = min(max(CHART_WIDTH / kernels, SLOT[0]), SLOT[1])
    width = max(LEFT + slot * kernels + 24, 480.0)
    height = TOP + CHART_HEIGHT + BOTTOM
    scale = CHART_HEIGHT / max(plan.arena_bytes, 1)
    total = f"arena {plan.arena_bytes:,} bytes of {side_by_side(plan):,} side by side"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="10">',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        f'<text x="{LEFT:.0f}" y="20" font-size="12">{total}</text>',
        *_axes(plan, kernels, slot),
    ]
    for number, buffer in enumerate(_arena(plan)):
        parts.append(_box(buffer, number * HUES % 360, slot, scale))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(plan: Plan, kernels: int, slot: float) -> list[str]:
    base, right = TOP + CHART_HEIGHT, LEFT + slot * kernels
    parts = [
        f'<path d="M{LEFT:.0f},{TOP:.0f} V{base:.0f} H{right:.1f}" fill="none" stroke="#444"/>',
        f'<line x1="{LEFT:.0f}" y1="{TOP:.0f}" x2="{right:.1f}" y2="{TOP:.0f}" stroke="#b3261e" '
        f'stroke-dasharray="6 3"/>',
    ]
    for quarter in range(5):
        y = base - CHART_HEIGHT * quarter / 4
        shown = f"{plan.arena_bytes * quarter // 4:,}"
        parts.append(
            f'<text x="{LEFT - 6:.0f}" y="{y + 3:.0f}" text-anchor="end" fill="#444">{shown}</text>'
        )
    every = -(-kernels // TICKS)
    for number in range(0, kernels, every):
        name = plan.kernels[number].name if number < len(plan.kernels) else ""
        parts.append(
            f'<g><title>{escape(name)}</title><text x="{LEFT + slot * (number + 0.5):.1f}" '
            f'y="{base + 14:.0f}" text-anchor="middle" fill="#444">{number}</text></g>'
        )
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{base + 34:.0f}" text-anchor="middle">kernel</text>')
    return parts


def _box(buffer: Buffer, hue: int, slot: float, scale: float) -> str:
    x, wide = LEFT + slot * buffer.born, slot * (buffer.dies - buffer.born + 1)
    tall = max(buffer.type.nbytes * scale, 1.0)
    y = TOP + CHART_HEIGHT - buffer.offset * scale - tall
    label = ""
    if len(buffer.name) * LETTER < wide and tall >= 11:
        label = (
            f'<text x="{x + wide / 2:.1f}" y="{y + tall / 2 + 3:.1f}" '
            f'text-anchor="middle">{escape(buffer.name)}</text>'
        )
    return (
        f"<g><title>{escape(_tooltip(buffer))}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" '
        f'fill="{_colour(hue, 0.8)}" fill-opacity="0.8" stroke="{_colour(hue, 0.4)}"/>{label}</g>'
    )


def _colour(hue: int, lightness: float) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in hls_to_rgb(hue / 360, lightness, 0.5))


def _tooltip(buffer: Buffer) -> str:
    lines = [
        f"{buffer.name}: {buffer.type}",
        f"{buffer.type.nbytes:,} bytes at {buffer.offset:,}",
        f"kernels {buffer.born} to {buffer.dies}",
    ]
    return "\n".join([*lines, str(buffer.where)] if buffer.where else lines)


# ---- table


def memory_table(plan: Plan) -> str:
    """A line a buffer: space, type, bytes, offset (or number of the array), kernels, user's line.

    The last lines are the bytes of the arena, and those of its buffers side by side.
    """
    head = ("buffer", "space", "type", "bytes", "offset", "born", "dies", "line")
    rows = [head, *(_row(buffer) for buffer in plan.buffers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    numbers = range(3, 7)
    lines = []
    for row in rows:
        cells = (
            text.rjust(wide) if column in numbers else text.ljust(wide)
            for column, (text, wide) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    totals = {"arena": plan.arena_bytes, "side by side": side_by_side(plan)}
    digits = max(len(f"{count:,}") for count in totals.values())
    lines += [f"{name:<12}  {count:>{digits},} bytes" for name, count in totals.items()]
    return "\n".join(lines) + "\n"


def _row(buffer: Buffer) -> tuple[str, ...]:
    where = str(buffer.where) if buffer.where else ""
    numbers = (buffer.type.nbytes, buffer.offset, buffer.born, buffer.dies)
    return (buffer.name, buffer.space, str(buffer.type), *(f"{n:,}" for n in numbers), where)
