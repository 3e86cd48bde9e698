"""`cofactor onboard`: interview a new user about a few items and show the recommendations after each answer."""

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

    from cofactor.cold_start import Questionnaire
    from cofactor.data.scale import Scale
    from cofactor.recommender.recommender import Recommender

__all__ = ["onboard"]

DONT_KNOW, STOP = ("", "?"), ("q", "quit")
WIDTH = 60
"""Maximum number of characters of a title."""

Answer = float | None | Literal["stop"]
"""A rating, None for an item that the user does not know, or "stop"."""


def onboard(
    model: ModelFile,
    *,
    questions: Annotated[int, Option(metavar="N", parser=whole_number, help="Maximum number of questions.")] = 10,
    n: Annotated[
        int, Option("-n", "--n", metavar="N", parser=whole_number, help="Number of recommendations to show.")
    ] = 5,
    seed: Seed = 0,
) -> None:
    """Questionnaire a new user: ask for the most informative ratings and update the recommendations after each answer.

    Each question depends on the answers before it. After each rating the best items are shown with their previous
    rank. Enter or ? means "don't know", q stops. Answers can also be read from a file or a pipe, one per line.
    """
    from cofactor.cold_start import Population, Questionnaire
    from cofactor.recommender.recommender import Recommender

    recommender = Recommender.load(model)
    prompt = _Prompt(recommender, model, recommender.scale)
    interview, out = Questionnaire(Population.of(recommender, seed=seed)), results()
    out.print(f"Rate {prompt.range}; Enter or ? if you don't know it, q to stop.")
    for number in range(1, questions + 1):
        item = interview.next()
        if item is None:
            out.print("No further question would change the recommendations.")
            break
        answer = prompt.answer(f"{number}. {prompt.name(item)}: ")
        if answer == "stop":
            break
        before, interview = interview, interview.answered(item, answer)
        if answer is not None:
            out.print(prompt.changes(before, interview, n))
    prompt.finish(interview, n)


@dataclass(frozen=True)
class _Prompt:
    """Terminal side of the interview: formats items and the scale, and reads answers."""

    recommender: Recommender
    path: str
    scale: Scale | None

    @property
    def range(self) -> str:
        """The rating scale in words."""
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
        """Return the title of an item, or its ID, cut to WIDTH characters."""
        titles = self.recommender.titles
        name = printable((titles[item] if titles is not None else None) or self.recommender.items.ids([item])[0])
        return name if len(name) <= WIDTH else f"{name[: WIDTH - 1]}…"

    def answer(self, prompt: str) -> Answer:
        """Ask until a line is a valid answer; the end of the input counts as "stop"."""
        while True:
            print(prompt, end="", flush=True)
            line = sys.stdin.readline()
            if not line.endswith("\n") or not sys.stdin.isatty():
                print()
            text = line.strip().lower()
            if not line or text in STOP:
                return "stop"
            if text in DONT_KNOW:
                return None
            try:
                rating = float(text.replace(",", "."))
            except ValueError:
                rating = math.nan
            if math.isfinite(rating) if self.scale is None else self.scale.holds([rating]).all():
                return rating
            print(f"Rate {self.range}; Enter if you don't know it, q to stop.")

    def changes(self, before: Questionnaire, after: Questionnaire, n: int, *, column: str = "previous\nrank") -> Table:
        """Return a table of the n best items with their predicted ratings and their ranks before."""
        n_items = len(self.recommender.items)
        old_rank = {int(item): rank for rank, item in enumerate(before.best(n_items), start=1)}
        predicted = after.predictions()
        if self.scale is not None:
            predicted = predicted.clip(self.scale.low, self.scale.high)
        shown = table(("", "right"), "recommended", ("predicted\nrating", "right"), (column, "right"))
        for rank, item in enumerate(after.best(n), start=1):
            shown.add_row(str(rank), self.name(int(item)), f"{predicted[item]:.2f}", f"{old_rank[int(item)]:,}")
        return shown

    def finish(self, interview: Questionnaire, n: int) -> None:
        """Print how many items were rated, the final list, and the command for a longer list."""
        out, (items, values) = results(), interview.known
        out.print(f"You rated {len(items)} of {len(interview.asked)} items.")
        if interview.asked and interview.answers[-1] is None:
            out.print(self.changes(type(interview)(interview.population), interview, n, column="initial\nrank"))
        if len(items):
            ids = self.recommender.items.ids(items).to_list()
            rated = [f"{id_}={number_text(float(value))}" for id_, value in zip(ids, values, strict=True)]
            options = [word for pair in rated for word in ("--rated", pair)]
            out.print(f"For a longer list: {command('recommend', as_path(self.path), *options)}", soft_wrap=True)
