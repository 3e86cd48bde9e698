"""Sources: read ratings or events from Parquet, CSV or JDBC into a Spark data frame, without the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cofactor.data.interactions import MAX_RATING, Kind
from cofactor.data.readers.columns import ROLES, choose_columns, roles_by_position
from cofactor.errors import DataError, ParameterError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

__all__ = ["Source", "read_source"]

SEPARATORS = ("::", "\t", ";", ",")
"""Separators of fields in text files; the first one in the first line is used."""

INTEGER = r"^(0|-?[1-9][0-9]{0,17})(?:\.0+)?$"
"""Pattern of text that is read as an integer ID if all IDs of the column match."""

CORRUPT = "_corrupt_record"
"""Column of text files with the lines that have too many fields."""


@dataclass(frozen=True)
class Source:
    """Table of ratings or events that Spark reads in place.

    Parameters
    ----------
    address : str
        Path or URI of Parquet or text files (a file, a folder, or a pattern), or a JDBC URL.
    kind : {"ratings", "events"}
        Kind of the table.
    columns : mapping of str to str or None
        Column names by role (user, item, value, time, weight), as in `cofactor.read_ratings`.
    format : {"csv", "tsv", "::", "parquet", "jdbc"} or None, default None
        Format; None detects it.
    query : str or None, default None
        SQL query for a database.
    ids : {"auto", "text"}, default "auto"
        As in `cofactor.read_ratings`.
    options : mapping of str to str, optional
        Options of Spark's reader, such as `user`, `password`, `driver`, `partitionColumn` and `numPartitions` for JDBC.
    """

    address: str
    kind: Kind
    columns: Mapping[str, str | None]
    format: str | None = None
    query: str | None = None
    ids: str = "auto"
    options: Mapping[str, str] | None = None


def read_source(spark: SparkSession, source: Source) -> DataFrame:
    """Read a source into a data frame, and check all of its rows.

    Parameters
    ----------
    spark : SparkSession
        The session.
    source : Source
        What to read.

    Returns
    -------
    DataFrame
        Columns user and item (bigint or string), value (float), time and weight (double; null without one), and order
        (bigint), which increases with the position in the source.

    Raises
    ------
    DataError
        If a column is missing, a row is invalid, or there are no rows.
    ParameterError
        If the options do not fit together.
    """
    from pyspark.sql import functions as sf

    frame, roles = _open(spark, source)
    names = list(frame.columns)
    required: list[Any] = ["user", "item"] + (["value"] if source.kind == "ratings" else [])
    positions = choose_columns(
        [name for name in names if name != CORRUPT],
        {role: source.columns.get(role) for role in ROLES},
        required=required,
        source=source.address,
        positional_roles=roles or (),
    )
    raw = frame.select(
        *(frame[names[position]].alias(role) for role, position in positions.items() if role != "type"),
        *([frame[CORRUPT]] if CORRUPT in names else []),
        sf.monotonically_increasing_id().alias("order"),
    )
    return _checked(raw, source, positions)


def _open(spark: SparkSession, source: Source) -> tuple[DataFrame, list[Any] | None]:
    """Return all columns of a source, and the roles of its columns if it has no header."""
    options = dict(source.options or {})
    if source.address.startswith("jdbc:"):
        if source.query is None:
            raise ParameterError("a JDBC source needs a query, such as 'select user, item, rating from ratings'")
        reader = spark.read.format("jdbc").options(**options).option("url", source.address)
        if "partitionColumn" in options:
            return reader.option("dbtable", f"({source.query}) source").load(), None
        return reader.option("query", source.query).load(), None
    if "://" in source.address and source.address.partition("://")[0].startswith(("postgres", "mysql", "sqlite")):
        raise ParameterError("Spark reads databases through JDBC: pass a URL such as jdbc:postgresql://HOST/DATABASE")
    if source.query is not None:
        raise ParameterError(f"query requires a database URL (jdbc:...), but the source is {source.address!r}")
    if source.format == "parquet" or (source.format is None and _looks_like_parquet(spark, source.address)):
        return spark.read.options(**options).parquet(source.address), None
    return _open_text(spark, source, options)


def _looks_like_parquet(spark: SparkSession, address: str) -> bool:
    """Return whether the first file of an address starts with the magic number of Parquet."""
    import pyarrow as pa

    lower = address.rstrip("/").lower()
    if lower.endswith((".parquet", ".pq")):
        return True
    if lower.endswith((".csv", ".tsv", ".txt", ".dat", ".data", ".gz", ".zst", ".bz2")):
        return False
    first = spark.read.format("binaryFile").load(address).select("path", "content").limit(1)

    def magic(batches: Any) -> Any:
        for batch in batches:
            contents = [content.as_py()[:4] == b"PAR1" for content in batch.column("content")]
            yield pa.RecordBatch.from_pydict({"parquet": pa.array(contents)})

    rows = first.mapInArrow(magic, "parquet boolean").collect()
    return bool(rows and rows[0]["parquet"])


def _open_text(spark: SparkSession, source: Source, options: dict[str, str]) -> tuple[DataFrame, list[Any] | None]:
    """Return the columns of a text file as strings, and their roles if it has no header."""
    lines = spark.read.text(source.address).limit(1).collect()
    if not lines:
        raise DataError(f"{source.address} has no rows")
    line = lines[0][0].lstrip("\ufeff")
    named = {"csv": None, "tsv": "\t", "::": "::"}.get(source.format or "csv")
    separator = named or next((mark for mark in SEPARATORS if mark in line), ",")
    fields = [field.strip().strip('"') for field in line.split(separator)]
    names = [name for name in source.columns.values() if name]
    roles = roles_by_position(fields, column_names=names, events=source.kind == "events")
    columns = fields if roles is None else [str(n + 1) for n in range(len(fields))]
    if len(set(columns)) < len(columns):
        raise DataError(f"{source.address}: two columns have the same name; rename all but one")
    schema = ", ".join(f"`{name.replace('`', '``')}` string" for name in [*columns, CORRUPT])
    frame = (
        spark.read.schema(schema)
        .options(header=roles is None, sep=separator, quote='"', escape='"', columnNameOfCorruptRecord=CORRUPT)
        .options(ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True, enforceSchema=True, **options)
        .csv(source.address)
    )
    return frame, roles


def _checked(raw: DataFrame, source: Source, positions: Mapping[str, int]) -> DataFrame:
    """Convert the columns, and raise DataError if a row is invalid."""
    from pyspark.sql import functions as sf

    numbers = {"value": "float", "weight": "double"}
    ids = {role: _id_column(raw, role, source) for role in ("user", "item")}
    columns: dict[str, Column] = dict(ids)
    for role, type_ in numbers.items():
        default = sf.lit(1.0 if role == "value" else None)
        columns[role] = (_number(raw, role) if role in positions else default).cast(type_)
    columns["time"] = _time(raw) if "time" in positions else sf.lit(None).cast("double")
    is_bad = sf.lit(False)
    for role in ("user", "item"):
        is_bad |= columns[role].isNull() | _invalid_text(columns[role], dict(raw.dtypes)[role] == "string")
    for role in ("value", "weight", "time"):
        if role in positions:
            is_bad |= columns[role].isNull() | sf.isnan(columns[role]) | (sf.abs(columns[role]) > MAX_RATING)
    if "value" in positions and source.kind == "events":
        is_bad |= columns["value"] <= 0
    if "weight" in positions and source.kind == "ratings":
        is_bad |= columns["weight"] < 0
    if CORRUPT in raw.columns:
        raw = raw.cache()  # Spark requires it if the lines of a text file are used
        is_bad |= raw[CORRUPT].isNotNull()
    is_bad = sf.coalesce(is_bad, sf.lit(True))
    n, n_bad = raw.select(sf.count("*"), sf.count_if(is_bad)).collect()[0]
    if n == 0:
        raise DataError(f"{source.address} has no rows")
    if n_bad:
        first = raw.where(is_bad).orderBy("order").limit(1).collect()[0].asDict()
        shown = first.get(CORRUPT) or ", ".join(str(first[role]) for role in positions if role in first)
        raise DataError(f"{source.address}: {n_bad:,} of {n:,} rows are invalid; the first of them is {shown!r}")
    return raw.select(*(column.alias(role) for role, column in columns.items()), "order")


def _id_column(raw: DataFrame, role: str, source: Source) -> Column:
    """Return an ID column as bigint, or as string if it is text that is not all integers."""
    from pyspark.sql import functions as sf

    column, type_ = raw[role], dict(raw.dtypes)[role]
    if type_ in ("tinyint", "smallint", "int", "bigint"):
        return column.cast("string" if source.ids == "text" else "bigint")
    if type_ in ("float", "double") or type_.startswith("decimal"):
        whole = sf.when(column == sf.floor(column), column.cast("bigint"))
        return whole.cast("string") if source.ids == "text" else whole
    if type_ != "string":
        raise DataError(f"{source.address}: the {role} IDs have the type {type_}; they must be integers or text")
    if source.ids == "text" or source.address.startswith("jdbc:") or CORRUPT not in raw.columns:
        return column
    is_integer = raw.select(sf.min(sf.coalesce(column.rlike(INTEGER), sf.lit(True)))).collect()[0][0]
    return sf.regexp_extract(column, INTEGER, 1).cast("bigint") if is_integer else column


def _number(raw: DataFrame, role: str) -> Column:
    """Return a column as a number; null where it is not one."""
    column = raw[role]
    return column.try_cast("double") if dict(raw.dtypes)[role] == "string" else column.cast("double")


def _time(raw: DataFrame) -> Column:
    """Return times as numbers that order them: seconds of dates, and numbers as they are."""
    from pyspark.sql import functions as sf

    column, type_ = raw["time"], dict(raw.dtypes)["time"]
    if type_ in ("date", "timestamp", "timestamp_ntz"):
        return sf.unix_micros(column.cast("timestamp")) / 1e6
    if type_ != "string":
        return column.cast("double")
    dates = sf.unix_micros(column.try_cast("timestamp")) / 1e6
    return sf.coalesce(column.try_cast("double"), dates)


def _invalid_text(column: Column, is_text: bool) -> Column:
    """Return whether an ID is text that is not a valid ID; see `invalid_id_reason`."""
    from pyspark.sql import functions as sf

    if not is_text:
        return sf.lit(False)
    text = column.cast("string")
    return (sf.trim(text) == "") | (sf.length(text) > 256) | text.rlike(r"\p{Cc}")
