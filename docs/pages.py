"""Run the code of the pages, compare the numbers in their text with the recorded numbers, and draw figures.

`make docs` runs every page once and compares its numbers on the way (docs/_extensions/recorded_numbers.py). Without
building the site:

python docs/pages.py [PAGE.md ...]    run every page, or these, and print which numbers changed since they were recorded
python docs/pages.py --record [PAGE.md ...]    write the numbers of every page, or of these, to docs/numbers.json
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import warnings
from dataclasses import dataclass
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

if __name__ == "pages":  # imported by a page
    pl.Config(fmt_str_lengths=60, tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True)
    warnings.filterwarnings("error", module="__main__|cofactor")

HERE = Path(__file__).parent
NUMBERS = HERE / "numbers.json"
_ids = count(1)

PIECE = re.compile(
    r"^```\{code-cell\}[^\n]*\n(?P<code>.*?)^```$|\{eval\}`(?P<expression>[^`]+)`", re.DOTALL | re.MULTILINE
)
"""The code of a page: its cells, and the expressions in its sentences, in order."""


@dataclass(frozen=True)
class figure:  # noqa: N801
    """A plotly figure for a page, in pages `figure(...)` reads as a verb; `alt` describes the figure."""

    drawn: Any
    alt: str

    def _repr_html_(self) -> str:
        from cofactor.plots import snippet

        name = f"figure-{next(_ids)}"
        return f'<div class="figure" role="img" aria-label="{escape(self.alt)}">{snippet(self.drawn, name)}</div>'


def programs() -> list[Path]:
    """Return the pages that contain code to run."""
    return sorted(page for page in HERE.rglob("*.md") if "_build" not in page.parts and PIECE.search(page.read_text()))


def run(page: Path) -> dict[str, str]:
    """Run a page's cells in a fresh namespace; return the numbers in its sentences: expression -> text."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    texts: dict[str, str] = {}
    text = page.read_text(encoding="utf-8")
    with contextlib.chdir(page.parent), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("error")
        for piece in PIECE.finditer(text):
            if (expression := piece["expression"]) is not None:
                texts[expression] = str(eval(expression, namespace))
                continue
            code = re.sub(r"\A(---\n.*?\n---\n|(:[^\n]*\n)+)", "", piece["code"], flags=re.DOTALL)
            line = text.count("\n", 0, piece.start("code"))
            exec(compile("\n" * line + code, str(page), "exec", dont_inherit=True), namespace)
    return texts


def moved(page: Path, texts: dict[str, str]) -> list[str]:
    """Return the differences of a run from the recorded numbers beyond the tolerance."""
    recorded = json.loads(NUMBERS.read_text(encoding="utf-8")).get(page.relative_to(HERE).as_posix(), {})
    wrong = [f"{expression}: not recorded" for expression in texts if expression not in recorded]
    wrong += [f"{expression}: recorded, but no longer said" for expression in recorded if expression not in texts]
    for expression, text in texts.items():
        before = recorded.get(expression, text)
        if not alike(before, text, tolerance(expression)):
            wrong.append(f"{expression}: {before} was recorded, {text} now")
    return wrong


def tolerance(expression: str) -> float:
    """Return the relative tolerance of a number: times depend on the machine, results hardly."""
    return 9.0 if re.search(r"seconds|speed|_ms\b|times_faster", expression) else 0.05


def alike(left: str, right: str, share: float) -> bool:
    """Return whether two texts differ only in numbers, and these by at most `share` or one unit of the last digit."""
    number = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
    if number.sub("#", left) != number.sub("#", right):
        return False
    for a, b in zip(number.findall(left), number.findall(right), strict=True):
        last = 10.0 ** -len(a.partition(".")[2])
        x, y = float(a.replace(",", "")), float(b.replace(",", ""))
        if abs(x - y) > max(share * max(abs(x), abs(y)) if share < 1 else share * min(abs(x), abs(y)), 1.01 * last):
            return False
    return True


def main() -> None:
    """Run all pages; record their numbers, or print which changed."""
    sys.path.insert(0, str(HERE))
    os.environ.setdefault("COLUMNS", "100")
    only = [name for name in sys.argv[1:] if not name.startswith("--")]
    numbers = json.loads(NUMBERS.read_text(encoding="utf-8")) if only else {}
    wrong = []
    for page in programs():
        if only and page.name not in only:
            continue
        name = page.relative_to(HERE).as_posix()
        numbers[name] = run(page)
        print(f"{name}: {len(numbers[name])} numbers", flush=True)
        if "--record" not in sys.argv:
            wrong += [f"{name}: {line}" for line in moved(page, numbers[name])]
    if "--record" in sys.argv:
        NUMBERS.write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
