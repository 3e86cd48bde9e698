"""Where a command's table comes from: the options of every command that reads one, written once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from typer import Argument, Option

from cofactor.cli.estimator_options import number_text
from cofactor.cli.options import choice, number
from cofactor.cli.terminal import fetch_progress, note
from cofactor.errors import DataError, KindError, ParameterError

if TYPE_CHECKING:
    from cofactor.data.interactions import Interactions, Kind
    from cofactor.data.load_report import LoadReport
    from cofactor.estimators import Estimator

__all__ = ["Source", "reads_table"]


FORMATS = ("csv", "tsv", "::", "parquet", "jsonl")


def _rows(text: str, *names: str, **more: Any) -> Any:
    return Option(*names, help=text, rich_help_panel="Ratings, events and bad rows", **more)


def _column(text: str, metavar: str = "COLUMN", **more: Any) -> Any:
    return Option(
        **more, metavar=metavar, help=text, rich_help_panel="Columns (guessed from the usual names) and format"
    )


def _about(text: str, metavar: str) -> Any:
    return Option(metavar=metavar, help=text, rich_help_panel="About items and users")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table as it was named on the command line: every field is an option, its help beside it.

    >>> Source(ratings="plays.csv", events=True).kind
    'events'
    """

    ratings: Annotated[str, Argument(metavar="RATINGS", help="A file, the name of a data set, or a database URL.")]
    min_rating: Annotated[
        float | None,
        _rows("These are ratings; from this one on they count as events.", metavar="RATING", parser=number()),
    ] = None
    gain: Annotated[
        float, _rows("With --min-rating: what each step above it adds.", metavar="NUMBER", parser=number(low=0))
    ] = 0.0
    events: Annotated[bool, _rows("These are events: clicks, plays, purchases.", "--events")] = False
    levels: Annotated[str | None, _rows("All ratings there can be, as in 1,2,3,4,5.", metavar="N,N,...")] = None
    on_error: Annotated[
        str,
        _rows(
            "Stop at bad rows, or set them aside in a file.",
            metavar="raise|quarantine",
            parser=choice("raise", "quarantine"),
        ),
    ] = "raise"
    quarantine: Annotated[str | None, _rows("Where its bad rows go (RATINGS.refused.csv).", metavar="FILE")] = None
    user: Annotated[str | None, _column("Column of the users.")] = None
    item: Annotated[str | None, _column("Column of the items.")] = None
    value: Annotated[str | None, _column("Column of the ratings or counts.")] = None
    time: Annotated[str | None, _column("Column of the times.")] = None
    weight: Annotated[str | None, _column("Column of the weights.")] = None
    format: Annotated[
        str | None, _column("Of the file, if its ending misleads.", metavar="|".join(FORMATS), parser=choice(*FORMATS))
    ] = None
    ids: Annotated[
        str, _column("Ids as the table has them, or all as text.", metavar="auto|text", parser=choice("auto", "text"))
    ] = "auto"
    query: Annotated[str | None, _column("What to select from a database.", metavar="SQL")] = None
    items: Annotated[str | None, _about("A file of items with their title, and more.", metavar="FILE")] = None
    item_id: Annotated[str | None, _about("The column of item ids in it.", metavar="COLUMN")] = None
    users: Annotated[str | None, _about("A file of users with their age, and more.", metavar="FILE")] = None
    user_id: Annotated[str | None, _about("The column of user ids in it.", metavar="COLUMN")] = None

    @property
    def kind(self) -> Kind:
        """What the table will hold once it is read: ratings, unless options say events."""
        return "events" if self.events or self.min_rating is not None else "ratings"

    def arguments(self) -> list[str]:
        """The options that were given, as they are typed: for a command about the same table."""
        words: list[str] = []
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name == "ratings" or value == spec.default:
                continue
            words.append(f"--{spec.name.replace('_', '-')}")
            if not isinstance(value, bool):
                words.append(number_text(value) if isinstance(value, float) else str(value))
        return words

    def suits(self, estimators: Sequence[Estimator]) -> None:
        """Raises KindError, before anything is read, where a model learns from the other kind."""
        for estimator in estimators:
            if estimator.kind in ("any", self.kind):
                continue
            if estimator.kind == "events":
                raise KindError(
                    f"{estimator.name} learns from events, so say what {self.ratings} holds: ratings, of which those "
                    "from 4 on count as liked (--min-rating 4), or clicks, plays, purchases (--events)"
                )
            given = "--events" if self.events else "--min-rating"
            raise KindError(
                f"{estimator.name} learns from ratings, and {given} makes events; leave it out, or take a model of "
                "events such as implicit-als"
            )

    @property
    def files(self) -> list[str | None]:
        """What is read: the table, and the files of items and users where there are such."""
        return [self.ratings, self.items, self.users]

    def read(self) -> Interactions:
        """The table; what is worth knowing about it goes to stderr. Raises DataError, FetchError, ParameterError."""
        from cofactor.cli.side_tables import with_people, with_titles

        if self.events and self.min_rating is not None:
            raise ParameterError("--events and --min-rating exclude each other: the latter is for ratings")
        if self.gain and self.min_rating is None:
            raise ParameterError("--gain is for ratings that become events: give --min-rating too")
        for what in ("item", "user"):
            if getattr(self, f"{what}_id") is not None and getattr(self, f"{what}s") is None:
                raise ParameterError(
                    f"--{what}-id names a column of the file of {what}s: give that too (--{what}s FILE)"
                )
        on_error: Any = self.on_error
        table = self._dataset() if self._is_dataset() else self._file()
        if table.report is not None:
            _say(table.report)
        if self.items is not None:
            table = with_titles(table, self.items, self.item_id, on_error)
        if self.users is not None:
            table = with_people(table, self.users, self.user_id, on_error)
        if self.min_rating is None:
            return table
        return table.to_events(min_rating=self.min_rating, gain=self.gain)

    def _is_dataset(self) -> bool:
        from cofactor.datasets.loading import DATASETS

        if "://" in self.ratings or Path(self.ratings).exists():
            return False
        if self.ratings not in DATASETS and Path(self.ratings).name == self.ratings and "." not in self.ratings:
            raise DataError(
                f"there is no file {self.ratings!r} here, nor a data set of that name (`cofactor fetch --list` shows "
                "them)"
            )
        return self.ratings in DATASETS

    def _dataset(self) -> Interactions:
        from cofactor.datasets.loading import load

        for option in ("user", "item", "value", "time", "weight", "format", "query", "levels", "quarantine"):
            if getattr(self, option) is not None:
                raise ParameterError(f"--{option} is for files and databases; {self.ratings} is a known data set")
        if self.ids != "auto":
            raise ParameterError(f"--ids is for files and databases; {self.ratings} is a known data set")
        if self.events:
            raise ParameterError(f"{self.ratings} holds ratings, not events: use --min-rating 4")
        with fetch_progress() as on_progress:
            return load(self.ratings, on_progress=on_progress)

    def _file(self) -> Interactions:
        from cofactor.data.readers.read import read_events, read_ratings

        options: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "user", "item", "value", "time", "weight", "format", "query", "ids", "on_error", "quarantine",
            )
        }  # fmt: skip
        if self.events:
            if self.levels is not None:
                raise ParameterError("--levels are of ratings, and --events says that there are none")
            return read_events(self.ratings, **options)
        return read_ratings(self.ratings, levels=_numbers(self.levels), **options)


def reads_table(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every field of Source as an option of its own, instead of its first parameter."""
    own = list(signature(command, eval_str=True).parameters.values())[1:]
    hints = get_type_hints(Source, include_extras=True)
    given = [
        Parameter(
            spec.name,
            Parameter.KEYWORD_ONLY,
            annotation=hints[spec.name],
            default=Parameter.empty if spec.default is MISSING else spec.default,
        )
        for spec in fields(Source)
    ]

    @wraps(command)
    def whole(**options: Any) -> None:
        source = Source(**{parameter.name: options.pop(parameter.name) for parameter in given})
        command(source, **options)

    parameters = [*own, *given]
    whole.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    whole.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return whole


def _say(report: LoadReport) -> None:
    for text in report.notes:
        note(text)
    if report.refusals:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in report.refused.items())
        note(f"{len(report.refusals):,} of {report.rows:,} rows refused: {reasons}")


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise ParameterError(f"--levels are numbers with commas, as in 1,2,3,4,5, not {text!r}")
    return numbers
