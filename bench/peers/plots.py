"""Drawings of the ratio of each case, as SVG text: the same results give the same bytes."""
import math
from html import escape

import ratios
import tables

ROW = 15
LABEL = 250
WIDTH = 460
TOP = 52
BOTTOM = 30
COLOURS = {1: "#4477aa", 2: "#ee9944"}
OTHER_COLOUR = "#777777"
TICKS = [0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16]


def text(x, y, words, size=11, anchor="start", extra=""):
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def line(x, top, bottom, colour, width=1):
    return f'<line x1="{x:.1f}" y1="{top:g}" x2="{x:.1f}" y2="{bottom:g}" stroke="{colour}" stroke-width="{width}"/>'


class Axis:
    """A logarithmic axis that holds 1 and every value."""

    def __init__(self, values):
        low, high = min([*values, 1]), max([*values, 1])
        self.low = max([tick for tick in TICKS if tick <= low], default=low)
        self.high = min([tick for tick in TICKS if tick >= high], default=high)
        if self.high == self.low:
            self.high = 1.5
        self.ticks = [tick for tick in TICKS if self.low <= tick <= self.high]

    def x(self, value):
        return LABEL + WIDTH * math.log(value / self.low) / math.log(self.high / self.low)


def bars(heading, rows):
    """rows: [(label, {threads: ratio})]; a bar from 1 to the ratio for each number of threads."""
    values = [value for _, by_threads in rows for value in by_threads.values()]
    axis = Axis(values)
    threads = sorted({count for _, by_threads in rows for count in by_threads})
    block = ROW * len(threads) + 6
    height = TOP + block * len(rows) + BOTTOM
    bottom = height - BOTTOM
    total = LABEL + WIDTH + 60
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height}" viewBox="0 0 {total} {height}" '
           'font-family="sans-serif">', f'<rect width="{total}" height="{height}" fill="white"/>',
           text(10, 18, heading, 13, extra=' font-weight="bold"')]
    for index, count in enumerate(threads):
        left = LABEL + 110 * index
        out.append(f'<rect x="{left}" y="28" width="12" height="10" fill="{COLOURS.get(count, OTHER_COLOUR)}"/>')
        out.append(text(left + 17, 37, f"{count} thread{'s' if count > 1 else ''}"))
    for tick in axis.ticks:
        out.append(line(axis.x(tick), TOP - 4, bottom, "#333333" if tick == 1 else "#dddddd", 1.5 if tick == 1 else 1))
        out.append(text(axis.x(tick), bottom + 14, f"{tick:g}", anchor="middle"))
    for index, (label, by_threads) in enumerate(rows):
        top = TOP + block * index
        out.append(text(LABEL - 8, top + block / 2 + 1, label, anchor="end"))
        for place, count in enumerate(threads):
            if count not in by_threads:
                continue
            value = by_threads[count]
            left, right = sorted((axis.x(1), axis.x(value)))
            y = top + ROW * place
            out.append(f'<rect x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}" height="{ROW - 3}" '
                       f'fill="{COLOURS.get(count, OTHER_COLOUR)}"/>')
            out.append(text(right + 4, y + ROW - 5, f"{value:.2f}", 10))
    return "\n".join([*out, "</svg>"]) + "\n"


def rows_of(document, tests):
    rows = {}
    for cell in tables.cells_of(document, "speed"):
        value = ratios.ratio(ratios.figure(cell, ratios.OURS), ratios.figure(cell, ratios.PEER))
        if cell["test"] in tests and value:
            test = f" {cell['test']}" if len(tests) > 1 else ""
            rows.setdefault(f"{cell['model']} {cell['type']}{test}", {})[cell["threads"]] = value
    return list(rows.items())


def drawings(document):
    """(key, title, SVG text) of each drawing for which there are results."""
    deep = [test for test in tables.ordered(cell["test"] for cell in tables.cells_of(document, "speed"))
            if "@" in test and "x" not in test]
    groups = [("prompt", "Prompt of 512 tokens: llmhost over llama.cpp", ["pp512"]),
              ("generation", "Generation of 128 tokens: llmhost over llama.cpp", ["tg128"]),
              ("batched", "Generation of 8 sequences at once: llmhost over llama.cpp", ["tg16@d128x8"]),
              ("depth", "Generation after a long prompt: llmhost over llama.cpp", deep)]
    for key, title, tests in groups:
        rows = rows_of(document, tests)
        if rows:
            yield key, title, bars(title, rows)
