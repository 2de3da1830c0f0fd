"""Building blocks of the report page: numbers as text, tables, boxes, the style sheet.

Everything is inlined, so that the page can be mailed, printed and opened without a network.
"""

import base64
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from onestep_md.analysis.records.measurements import Measured
from onestep_md.estimators.estimate import Estimate

DASH = '<span class="none">–</span>'

CSS = """
:root { --ink: #1d2229; --soft: #5c6570; --line: #e2e5e9; --blue: #1f6fb5; --red: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f7; color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 2px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 0 0 10px; letter-spacing: -0.005em; }
p { margin: 0 0 10px; }
.lead { color: var(--soft); margin-bottom: 18px; }
.lead b { color: var(--ink); font-weight: 600; }
section, .verdict { background: white; border: 1px solid var(--line); border-radius: 10px;
  padding: 20px 22px; margin: 0 0 18px; }
.verdict { border-left: 6px solid #2c8c6a; }
.verdict.care { border-left-color: #d99a00; }
.verdict.bad { border-left-color: var(--red); background: #fdf3f2; }
.verdict h2 { font-size: 21px; }
.verdict ul { margin: 0; padding-left: 20px; }
.verdict li { margin: 2px 0; }
.tiles { display: grid; grid-template-columns: repeat(5, 1fr); gap: 12px; margin: 0 0 18px; }
.tile { background: white; border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 14px; }
.tile b { display: block; font-size: 23px; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile span { color: var(--soft); font-size: 13px; line-height: 1.35; display: block; }
.tile.bad b { color: var(--red); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px;
  font-variant-numeric: tabular-nums; }
tr.groups th { border-bottom: 0; padding-bottom: 0; }
th.group + th.group { border-left: 10px solid white; }
th { white-space: nowrap; text-align: right; font-weight: 600; color: var(--soft);
  vertical-align: bottom; border-bottom: 2px solid var(--line); padding: 5px 6px;
  line-height: 1.3; }
tr.groups th.group { text-align: center; border-bottom: 1px solid var(--line); color: var(--ink); }
td { text-align: right; padding: 5px 6px; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td:first-child { font-weight: 600; }
td small { color: var(--soft); font-weight: 400; display: block; font-size: 12px; }
tr.head td { background: #eef5fb; }
td.bad { color: var(--red); font-weight: 700; }
table.plain td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.plain td:first-child { white-space: nowrap; font-weight: 400; color: var(--soft);
  width: 1%; padding-right: 18px; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 0 28px; align-items: start; }
.warning { border: 1px solid #e7a6a1; background: #fdf0ef; color: #8c1d18; border-radius: 8px;
  padding: 10px 14px; margin: 12px 0 4px; font-size: 14px; }
.warning b { display: block; }
.warning ul { margin: 2px 0 0; padding-left: 18px; }
table.dense { font-size: 12.2px; } table.dense th, table.dense td { padding: 5px 4px; }
figure { margin: 0; }
* + figure { margin-top: 20px; } p.note + figure { margin-top: 14px; }
code { font: 0.93em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
h3 { font-size: 15px; margin: 16px 0 6px; } h2 + .columns h3:first-child { margin-top: 0; }
figure img { width: 100%; height: auto; display: block; }
figcaption, .note { color: var(--soft); font-size: 13px; line-height: 1.5; margin: 8px 0 0; }
.none { color: #a0a7af; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 4px 0 8px;
  vertical-align: -1px; }
pre { background: #f6f7f9; border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px;
  font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: 8px 0 0; }
details summary { cursor: pointer; color: var(--blue); margin-top: 14px; }
@media screen and (max-width: 760px) { .tiles { grid-template-columns: repeat(2, 1fr); }
  .columns { grid-template-columns: 1fr; } }
@media print { @page { margin: 12mm; } body { background: white; }
  main { zoom: 0.7; padding: 0; } .scroll { overflow: visible; }
  section, .verdict, .tile, figure, .warning, tr { break-inside: avoid; }
  section.long { break-inside: auto; } h2, h3 { break-after: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""


def document(title: str, body: str) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *parts: str, long: bool = False) -> str:
    """A card with a heading; `long` ones may break across printed pages."""
    kind = ' class="long"' if long else ""
    return f"<section{kind}>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def figure(png: Path, caption: str) -> str:
    """An embedded picture; the caption is HTML."""
    data = base64.b64encode(png.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(png.stem)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def warning_box(title: str, warnings: Sequence[str]) -> str:
    """A red box; nothing where there is nothing to warn of."""
    if not warnings:
        return ""
    items = "".join(f"<li>{prose(text)}</li>" for text in warnings)
    return f'<div class="warning"><b>{escape(title)}</b><ul>{items}</ul></div>'


def prose(text: str) -> str:
    """Plain text as HTML; `commands` in back quotes become code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def plain_table(rows: Sequence[tuple[str, str]]) -> str:
    """Name and value pairs."""
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return f'<table class="plain">{cells}</table>'


def table(head: str, rows: Sequence[str], dense: bool = False) -> str:
    """A table from ready-made header and body rows; `dense` for many columns."""
    kind, body = ' class="dense"' if dense else "", "\n".join(rows)
    cells = f"<thead>{head}</thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table{kind}>{cells}</table></div>'


def cell(text: str, bad: bool = False) -> str:
    """A table cell, red where a test failed."""
    return f'<td class="bad">{text}</td>' if bad else f"<td>{text}</td>"


def estimate(number: Measured, scale: float = 1.0) -> str:
    """`2.31 ± 0.04`: the error's first digit decides, its first two if the first is 1."""
    value, error = number.value * scale, number.error * scale
    if not math.isfinite(value):
        return number.text.replace("-inf", "−∞").replace("inf", "∞") or DASH
    if not math.isfinite(error):
        return f"{signed(value, 2)} ± ?"
    if error == 0:
        return signed(value, 2)
    return Estimate(value, error).format("").replace("+-", "±").replace("-", "−")


def percent(fraction: Measured, error_known: bool = True) -> str:
    """`67.2 ± 1.0`, of a hundred; `67.2 ± 1.0*` if the error is too small; 1e-20 is written so."""
    if fraction.value < 1e-4:
        return f"{100 * fraction.value:.1g}"
    return estimate(fraction, 100) + ("" if error_known else "*")


def signed(value: float, decimals: int) -> str:
    """A number with a typographic minus and no negative zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def number(value: float, spec: str = ".2f", scale: float = 1.0) -> str:
    """A number by format specification; a dash where there is none."""
    return f"{value * scale:{spec}}".replace("-", "−") if math.isfinite(value) else DASH


def duration(seconds: float) -> str:
    """`42 s`, `7 min 05 s`, `2 h 10 min`."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
