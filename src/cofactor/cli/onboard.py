"""`cofactor onboard`: somebody new is asked about a few items and sees what it does to their recommendations."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from cofactor.cli.estimator_options import number_text
from cofactor.cli.options import ModelFile, Seed, whole_number
from cofactor.cli.terminal import printable, results, table
from cofactor.shell import as_path, command

if TYPE_CHECKING:
    from rich.table import Table

    from cofactor.cold_start import Interview
    from cofactor.data.scale import Scale
    from cofactor.recommender.recommender import Recommender

__all__ = ["onboard"]

DONT_KNOW, STOP = ("", "?"), ("q", "quit")
WIDTH = 60
"""Of a title on the screen."""

Answer = float | None | Literal["stop"]


def onboard(
    model: ModelFile,
    *,
    questions: Annotated[int, Option(metavar="N", parser=whole_number, help="How many to ask at most.")] = 10,
    n: Annotated[
        int, Option("-n", "--n", metavar="N", parser=whole_number, help="How many of the best items to show.")
    ] = 5,
    seed: Seed = 0,
) -> None:
    """Get to know somebody new: asks for a few ratings, those that tell most, and recommends.

    Every answer decides what is asked next. After each rating the best items are shown, and where they stood before.
    Enter or ? is "don't know", q stops. Answers may also come from a file or a pipe, one a line.
    """
    from cofactor.cold_start import Interview, Population
    from cofactor.recommender.recommender import Recommender

    recommender = Recommender.load(model)
    asking = _Asking(recommender, model, recommender.scale)
    interview, out = Interview(Population.of(recommender, seed=seed)), results()
    out.print(f"Rate {asking.range}; Enter or ? if you don't know it, q to stop.")
    for number in range(1, questions + 1):
        item = interview.next()
        if item is None:
            out.print("Nothing more is worth asking.")
            break
        answer = asking.answer(f"{number}. {asking.name(item)}: ")
        if answer == "stop":
            break
        before, interview = interview, interview.answered(item, answer)
        if answer is not None:
            out.print(asking.moves(before, interview, n))
    asking.end(interview, n)


@dataclass(frozen=True)
class _Asking:
    """How items and the scale are told, and answers read."""

    recommender: Recommender
    path: str
    scale: Scale | None

    @property
    def range(self) -> str:
        import numpy as np

        if self.scale is None:
            return "with any number"
        ends = f"from {self.scale.low:g} to {self.scale.high:g}"
        steps = np.diff(self.scale.levels)
        if not len(steps):
            return ends
        even = np.allclose(steps, steps[0])
        return f"{ends} in steps of {steps[0]:g}" if even else f"with {', '.join(f'{x:g}' for x in self.scale.levels)}"

    def name(self, item: int) -> str:
        titles = self.recommender.titles
        name = printable((titles[item] if titles is not None else None) or self.recommender.items.ids([item])[0])
        return name if len(name) <= WIDTH else f"{name[: WIDTH - 1]}…"

    def answer(self, prompt: str) -> Answer:
        """The next line that is an answer, of however many; the end of the input stops."""
        while True:
            print(prompt, end="", flush=True)
            line = sys.stdin.readline()
            if not line.endswith("\n") or not sys.stdin.isatty():
                print()
            said = line.strip().lower()
            if not line or said in STOP:
                return "stop"
            if said in DONT_KNOW:
                return None
            try:
                rating = float(said.replace(",", "."))
            except ValueError:
                rating = math.nan
            if math.isfinite(rating) if self.scale is None else self.scale.holds([rating]).all():
                return rating
            print(f"Rate {self.range}; Enter if you don't know it, q to stop.")

    def moves(self, before: Interview, after: Interview, n: int, *, then: str = "before") -> Table:
        """The n best items now, what rating to expect, and their places then."""
        every = len(self.recommender.items)
        place = {int(item): rank for rank, item in enumerate(before.best(every), start=1)}
        expected = after.predictions()
        if self.scale is not None:
            expected = expected.clip(self.scale.low, self.scale.high)
        shown = table(("", "right"), "best for you now", ("rating to\nexpect", "right"), (f"place\n{then}", "right"))
        for rank, item in enumerate(after.best(n), start=1):
            shown.add_row(str(rank), self.name(int(item)), f"{expected[item]:.2f}", f"{place[int(item)]:,}")
        return shown

    def end(self, interview: Interview, n: int) -> None:
        """What it came to: how many were known, where the list stands, and how to get more of it."""
        out, (items, values) = results(), interview.known
        out.print(f"You rated {len(items)} of {len(interview.asked)}.")
        if interview.asked and interview.answers[-1] is None:
            out.print(self.moves(type(interview)(interview.population), interview, n, then="at first"))
        if len(items):
            ids = self.recommender.items.ids(items).to_list()
            rated = [f"{one}={number_text(float(value))}" for one, value in zip(ids, values, strict=True)]
            options = [word for one in rated for word in ("--rated", one)]
            out.print(f"For a longer list: {command('recommend', as_path(self.path), *options)}", soft_wrap=True)
