"""`cofactor onboard`: ask a new user about a few items, and show updated recommendations after each rating."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from cofactor.cli.estimator_options import format_number
from cofactor.cli.options import ModelFile, Seed, whole_number
from cofactor.cli.terminal import printable, results, table
from cofactor.shell import as_path, command

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from cofactor.data.id_columns import Id
    from cofactor.data.scale import Scale
    from cofactor.recommender.questions import Questions

__all__ = ["onboard"]

SKIP_ANSWERS, STOP_ANSWERS = ("", "?"), ("q", "quit")
MAX_TITLE_WIDTH = 60
"""Maximum length of a displayed title, in characters."""

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
    """Ask a new user for the most informative ratings, and update the recommendations after each answer.

    Each question depends on the previous answers. After each rating, the top items are shown with their previous ranks.
    Enter or ? means "don't know"; q quits. Answers can also be read from a file or a pipe, one per line.
    """
    from cofactor.recommender.recommender import Recommender

    start = state = Recommender.load(model).for_history([]).questions(seed=seed)
    prompt, out = _Prompt(start.catalog.scale), results()
    out.print(f"Rate {prompt.range}; Enter or ? if you don't know it, q to quit.")
    out.print(f"Expected ratings: {start.expected_answers(questions):.1f} of {questions} questions.")
    if start.questionnaire.population.asks_popular_items:
        out.print("Few answers are expected, so the questions are about the most popular items.")
    answer: Answer = None
    for number in range(1, questions + 1):
        item = state.next_item()
        if item is None:
            out.print("No further questions would change the recommendations.")
            break
        answer = prompt.answer(f"{number}. {_item_name(state, item)}: ")
        if answer == "stop":
            break
        old_state, state = state, state.with_answer(item, answer)
        if answer is not None:
            out.print(_recommendations(old_state, state, n, column="previous\nrank"))
    answers = state.questionnaire.answers
    out.print(f"You rated {len(state.ratings)} of {len(answers)} items.")
    if answers and answers[-1] is None:
        out.print(_recommendations(start, state, n, column="initial\nrank"))
    if state.ratings:
        rated_arguments = [f"{item}={format_number(rating)}" for item, rating in state.ratings.items()]
        options = [argument for rated_argument in rated_arguments for argument in ("--rated", rated_argument)]
        out.print(f"For a longer list: {command('recommend', as_path(model), *options)}", soft_wrap=True)


@dataclass(frozen=True)
class _Prompt:
    """Prompt for answers on a rating scale; a scale of None accepts any number."""

    scale: Scale | None

    @property
    def range(self) -> str:
        """Part of the prompt that describes the rating scale."""
        import numpy as np

        if self.scale is None:
            return "with any number"
        bounds = f"from {self.scale.low:g} to {self.scale.high:g}"
        steps = np.diff(self.scale.levels)
        if not len(steps):
            return bounds
        is_evenly_spaced = np.allclose(steps, steps[0])
        return (
            f"{bounds} in steps of {steps[0]:g}"
            if is_evenly_spaced
            else f"with {', '.join(f'{x:g}' for x in self.scale.levels)}"
        )

    def answer(self, prompt: str) -> Answer:
        """Prompt until the user enters a valid answer; the end of the input counts as "stop"."""
        while True:
            print(prompt, end="", flush=True)
            line = sys.stdin.readline()
            if not line.endswith("\n") or not sys.stdin.isatty():
                print()
            text = line.strip().lower()
            if not line or text in STOP_ANSWERS:
                return "stop"
            if text in SKIP_ANSWERS:
                return None
            try:
                rating = float(text.replace(",", "."))
            except ValueError:
                rating = math.nan
            if math.isfinite(rating) if self.scale is None else self.scale.contains([rating]).all():
                return rating
            print(f"Rate {self.range}; Enter if you don't know it, q to quit.")


def _item_name(questions: Questions, item: Id) -> str:
    """Return the title of an item, or its ID, truncated to MAX_TITLE_WIDTH characters."""
    titles = questions.catalog.titles
    title = None if titles is None else titles[questions.catalog.items.row(item)]
    name = printable(title or item)
    return name if len(name) <= MAX_TITLE_WIDTH else f"{name[: MAX_TITLE_WIDTH - 1]}…"


def _recommendations(old_state: Questions, state: Questions, n: int, *, column: str) -> Table:
    """Return a table of the top n items with their predicted ratings and their previous ranks."""
    previous_list: pl.DataFrame = old_state.recommend(old_state.catalog.n_items)
    previous_rank = dict(zip(previous_list["item"], previous_list["rank"], strict=True))
    output_table = table(("", "right"), "recommended", ("predicted\nrating", "right"), (column, "right"))
    for item, rank, prediction in state.recommend(n).select("item", "rank", "prediction").iter_rows():
        output_table.add_row(str(rank), _item_name(state, item), f"{prediction:.2f}", f"{previous_rank[item]:,}")
    return output_table
