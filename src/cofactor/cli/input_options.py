"""Input options shared by all commands that read a table, defined once as fields of `Source`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

from typer import Argument, Option

from cofactor.cli.estimator_options import estimators_of, format_number
from cofactor.cli.options import choice, number
from cofactor.cli.terminal import fetch_progress, note
from cofactor.errors import DataError, KindError, ParameterError

if TYPE_CHECKING:
    from cofactor.data.interactions import Interactions, Kind
    from cofactor.data.load_report import LoadReport
    from cofactor.estimators import Estimator

__all__ = ["Source", "rating_levels_of", "reads_table"]


FORMATS = ("csv", "tsv", "::", "parquet", "jsonl")


def _row_option(text: str, *names: str, **options: Any) -> Any:
    return Option(*names, help=text, rich_help_panel="Ratings, events and invalid rows", **options)


def _column_option(text: str, metavar: str = "COLUMN", **options: Any) -> Any:
    return Option(
        **options, metavar=metavar, help=text, rich_help_panel="Columns (inferred from common names) and format"
    )


def _entity_option(text: str, metavar: str) -> Any:
    return Option(metavar=metavar, help=text, rich_help_panel="Item and user tables")


LearnTypeWeights: TypeAlias = "Callable[[dict[str, Interactions]], dict[str, float]]"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Input table as specified on the command line.

    Every field is an option of the commands decorated with `reads_table`; its annotation contains the help text.

    Examples
    --------
    >>> Source(ratings="plays.csv", events=True).kind
    'events'
    """

    ratings: Annotated[str, Argument(metavar="RATINGS", help="Path of a file, name of a data set, or database URL.")]
    min_rating: Annotated[
        float | None,
        _row_option("Treat ratings of RATING and up as events (likes).", metavar="RATING", parser=number()),
    ] = None
    gain: Annotated[
        float,
        _row_option(
            "With --min-rating: weight added for each rating step above it.", metavar="NUMBER", parser=number(low=0)
        ),
    ] = 0.0
    counts: Annotated[
        str | None,
        _row_option(
            "How models use the values of events: 1 + ln of counts (log), 1 (binary) or as they are (raw).",
            metavar="log|binary|raw",
            parser=choice("log", "binary", "raw"),
        ),
    ] = None
    events: Annotated[bool, _row_option("The table contains events: clicks, plays, purchases.", "--events")] = False
    rating_levels: Annotated[str | None, _row_option("All possible ratings, such as 1,2,3,4,5.", metavar="N,N,...")] = (
        None
    )
    on_error: Annotated[
        str,
        _row_option(
            "Stop at invalid rows, or write them to a separate file.",
            metavar="raise|quarantine",
            parser=choice("raise", "quarantine"),
        ),
    ] = "raise"
    quarantine: Annotated[
        str | None, _row_option("File for the invalid rows (RATINGS.rejected.csv).", metavar="FILE")
    ] = None
    user: Annotated[str | None, _column_option("Column with the user IDs.")] = None
    item: Annotated[str | None, _column_option("Column with the item IDs.")] = None
    value: Annotated[str | None, _column_option("Column with the ratings or counts.")] = None
    time: Annotated[str | None, _column_option("Column with the times.")] = None
    weight: Annotated[str | None, _column_option("Column with the weights.")] = None
    event_type: Annotated[
        str | None, _column_option("Column with the type of each event, such as view or purchase.")
    ] = None
    type_weights: Annotated[
        str | None,
        _column_option(
            "Weight of each event type [1]; negative for dislikes, 0 to leave it out.", metavar="TYPE=NUMBER,..."
        ),
    ] = None
    format: Annotated[
        str | None,
        _column_option(
            "File format, if it cannot be inferred from the file extension.",
            metavar="|".join(FORMATS),
            parser=choice(*FORMATS),
        ),
    ] = None
    ids: Annotated[
        str,
        _column_option(
            "Infer the type of the IDs, or read them as text.", metavar="auto|text", parser=choice("auto", "text")
        ),
    ] = "auto"
    query: Annotated[str | None, _column_option("Query that selects the rows from a database.", metavar="SQL")] = None
    items: Annotated[
        str | None, _entity_option("Item table: a file with titles and other columns.", metavar="FILE")
    ] = None
    item_id: Annotated[str | None, _entity_option("Column with the item IDs in --items.", metavar="COLUMN")] = None
    users: Annotated[str | None, _entity_option("User table: a file with ages and other columns.", metavar="FILE")] = (
        None
    )
    user_id: Annotated[str | None, _entity_option("Column with the user IDs in --users.", metavar="COLUMN")] = None

    @property
    def kind(self) -> Kind:
        """Kind of the table after reading: "events" with --events or --min-rating, else "ratings"."""
        return "events" if self.events or self.min_rating is not None else "ratings"

    def arguments(self) -> list[str]:
        """Return the input options that differ from their defaults, to build another command that reads the same table.

        Returns
        -------
        list of str
            Options and values as command-line arguments; empty if all are defaults.
        """
        options_and_values: list[str] = []
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name in ("ratings", "counts") or value == spec.default:  # counts is a setting of the model
                continue
            options_and_values.append(f"--{spec.name.replace('_', '-')}")
            if not isinstance(value, bool):
                options_and_values.append(format_number(value) if isinstance(value, float) else str(value))
        return options_and_values

    def estimators(
        self, models: Sequence[str], settings: Sequence[str], rating_model: str | None
    ) -> tuple[Source, list[Estimator]]:
        """Create one estimator per model name, and check that they can be trained on the table.

        Parameters
        ----------
        models : sequence of str
            Names of the models.
        settings : sequence of str
            Hyperparameters; see `estimators_of`.
        rating_model : str or None
            Name of a model of ratings. If given, each of `models` ranks the items, and this model predicts the ratings.

        Returns
        -------
        source : Source
            Options for reading the table: with a rating model, the table contains ratings also with --min-rating.
        estimators : list of Estimator
            Estimators, in the order of the names.

        Raises
        ------
        ParameterError
            If a model or a hyperparameter is unknown, or if the options cannot be combined.
        KindError
            If an estimator needs the other kind of table.
        """
        if rating_model is None:
            estimators = estimators_of(models, settings)
            self.check_estimators(estimators)
            return self, estimators
        from cofactor.estimators import PairedModels

        if self.events:
            raise ParameterError("--rating-model requires ratings; it cannot be combined with --events")
        if self.gain:
            raise ParameterError(
                "--gain cannot be combined with --rating-model: with a rating model, all likes have the same weight"
            )
        *rankers, ratings = estimators_of([*models, rating_model], settings)
        return replace(self, min_rating=None), [PairedModels(ranker, ratings, self.min_rating) for ranker in rankers]

    def check_estimators(self, estimators: Sequence[Estimator]) -> None:
        """Check that the models can be trained on this kind of table, before any data is read.

        Parameters
        ----------
        estimators : sequence of Estimator
            Estimators to check.

        Raises
        ------
        KindError
            If an estimator needs the other kind of table.
        """
        for estimator in estimators:
            if estimator.kind in ("any", self.kind):
                continue
            if estimator.kind == "events":
                raise KindError(
                    f"{estimator.name} needs events: use --min-rating 4 to treat ratings of 4 and up in {self.ratings} "
                    "as likes, or --events if it contains clicks, plays or purchases"
                )
            option = "--events" if self.events else "--min-rating"
            raise KindError(
                f"{estimator.name} needs ratings, but {option} produces events; omit it, or use an event model such as "
                "implicit-als"
            )

    def settings(self, settings: Sequence[str] | None) -> list[str]:
        """Return the hyperparameters from --counts and --set; those from --set take precedence.

        Parameters
        ----------
        settings : sequence of str or None
            Values of --set.

        Returns
        -------
        list of str
            Hyperparameters, each "name=value" or "model.name=value".

        Raises
        ------
        ParameterError
            If --counts is given for ratings.

        Examples
        --------
        >>> Source(ratings="plays.csv", events=True, counts="binary").settings(["factors=8"])
        ['counts=binary', 'factors=8']
        """
        if self.counts is not None and self.kind == "ratings":
            raise ParameterError("--counts requires --events or --min-rating: it applies only to events")
        return [*([] if self.counts is None else [f"counts={self.counts}"]), *(settings or ())]

    @property
    def files(self) -> list[str | None]:
        """Paths of the interaction table, the item table and the user table; None for each file not given."""
        return [self.ratings, self.items, self.users]

    def read(self, learn_type_weights: LearnTypeWeights | None = None, *, into: Path | None = None) -> Interactions:
        """Read the table, join the item and user tables, and print loading notes on stderr.

        Parameters
        ----------
        learn_type_weights : callable or None, default None
            Function that maps the tables of all event types to their weights, in place of --type-weights.
        into : Path or None, default None
            Table file to write.

        Returns
        -------
        Interactions
            Table with the joined item and user tables.

        Raises
        ------
        ParameterError
            If the options cannot be combined.
        DataError
            If a file cannot be read.
        FetchError
            If a data set cannot be downloaded.
        """
        from cofactor.cli.side_tables import join_item_table, join_user_table

        if self.events and self.min_rating is not None:
            raise ParameterError("--events cannot be combined with --min-rating, which applies only to ratings")
        if self.gain and self.min_rating is None:
            raise ParameterError("--gain requires --min-rating: it applies only to ratings that are treated as events")
        self._check_event_types()
        for role in ("item", "user"):
            if getattr(self, f"{role}_id") is not None and getattr(self, f"{role}s") is None:
                raise ParameterError(f"--{role}-id requires --{role}s FILE: it names a column of the {role} table")
        on_error: Any = self.on_error
        table = self._dataset() if self._is_dataset() else self._file(learn_type_weights, into)
        if into is not None and self._is_dataset():
            table.save(into)
        if table.report is not None:
            _print_notes(table.report)
        if self.items is not None:
            table = join_item_table(table, self.items, self.item_id, on_error)
        if self.users is not None:
            table = join_user_table(table, self.users, self.user_id, on_error)
        if self.min_rating is None:
            return table
        return table.to_events(min_rating=self.min_rating, gain=self.gain)

    def _is_dataset(self) -> bool:
        from cofactor.datasets.registry import DATASETS

        if "://" in self.ratings or Path(self.ratings).exists():
            return False
        if self.ratings not in DATASETS and Path(self.ratings).name == self.ratings and "." not in self.ratings:
            raise DataError(
                f"{self.ratings!r} is neither a file in the current folder nor a data set (`cofactor fetch --list` "
                "lists the data sets)"
            )
        return self.ratings in DATASETS

    def _dataset(self) -> Interactions:
        from cofactor.datasets.loading import load_movielens
        from cofactor.datasets.registry import DATASETS

        for option in (
            "user", "item", "value", "time", "weight", "event_type", "format", "query", "rating_levels", "quarantine",
        ):  # fmt: skip
            if getattr(self, option) is not None:
                raise ParameterError(
                    f"--{option.replace('_', '-')} applies only to files and databases; {self.ratings} is a built-in "
                    "data set"
                )
        if self.ids != "auto":
            raise ParameterError(f"--ids applies only to files and databases; {self.ratings} is a built-in data set")
        if self.events:
            raise ParameterError(f"{self.ratings} contains ratings, not events: use --min-rating 4 instead of --events")
        with fetch_progress() as on_progress:
            return load_movielens(DATASETS[self.ratings], on_progress=on_progress)

    def _check_event_types(self) -> None:
        """Raise ParameterError if the event-type options are incompatible with the other options."""
        if self.type_weights is not None and self.event_type is None:
            raise ParameterError("--type-weights requires --event-type COLUMN")
        if self.event_type is not None and not self.events:
            raise ParameterError("--event-type requires --events")
        _type_weights(self.type_weights)

    def _file(self, learn_type_weights: LearnTypeWeights | None, into: Path | None) -> Interactions:
        from cofactor.data.event_types import combine_events
        from cofactor.data.readers.read import read_event_types, read_events, read_ratings

        options: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "user", "item", "value", "time", "weight", "format", "query", "ids", "on_error", "quarantine",
            )
        }  # fmt: skip
        if self.event_type is not None:
            tables = read_event_types(self.ratings, event_type=self.event_type, **options)
            note("event types: " + ", ".join(f"{name} ({len(table):,} pairs)" for name, table in tables.items()))
            if learn_type_weights is not None:
                return combine_events(tables, learn_type_weights(tables))
            return combine_events(tables, {**dict.fromkeys(tables, 1.0), **_type_weights(self.type_weights)})
        if self.events:
            if self.rating_levels is not None:
                raise ParameterError("--rating-levels cannot be combined with --events: only ratings have levels")
            return read_events(self.ratings, into=into, **options)
        return read_ratings(self.ratings, rating_levels=rating_levels_of(self.rating_levels), into=into, **options)


def reads_table(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command to replace its first parameter, a Source, with one option per field of Source.

    Parameters
    ----------
    command : callable
        Command whose first parameter is a Source.

    Returns
    -------
    callable
        Command with its other parameters and the fields of Source as keyword parameters.
    """
    own_parameters = list(signature(command, eval_str=True).parameters.values())[1:]
    hints = get_type_hints(Source, include_extras=True)
    source_parameters = [
        Parameter(
            spec.name,
            Parameter.KEYWORD_ONLY,
            annotation=hints[spec.name],
            default=Parameter.empty if spec.default is MISSING else spec.default,
        )
        for spec in fields(Source)
    ]

    @wraps(command)
    def wrapper(**options: Any) -> None:
        source = Source(**{parameter.name: options.pop(parameter.name) for parameter in source_parameters})
        command(source, **options)

    parameters = [*own_parameters, *source_parameters]
    wrapper.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _print_notes(report: LoadReport) -> None:
    for text in report.notes:
        note(text)
    if report.rejected_rows:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in report.rejection_counts.items())
        note(f"{len(report.rejected_rows):,} of {report.rows:,} rows rejected: {reasons}")


def _type_weights(text: str | None) -> dict[str, float]:
    """Parse the value of --type-weights; raise ParameterError if it is invalid."""
    weights: dict[str, float] = {}
    for part in [] if text is None else text.split(","):
        name, _, number_text = part.rpartition("=")
        try:
            weight = float(number_text)
        except ValueError:
            weight = math.nan
        if not name.strip() or not math.isfinite(weight) or name.strip() in weights:
            raise ParameterError(f"--type-weights must be pairs such as view=0.1,purchase=1, not {text!r}")
        weights[name.strip()] = weight
    return weights


def rating_levels_of(text: str | None) -> list[float] | None:
    """Parse the value of --rating-levels; raise ParameterError if it is invalid."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise ParameterError(f"--rating-levels must be comma-separated numbers, such as 1,2,3,4,5, not {text!r}")
    return numbers
