"""File layouts of the MovieLens releases, and conversion to one canonical layout.

The canonical files are::

    ratings.*    content as published; the suffix identifies the format, one of three
    items.csv    item, title (including the year, as published), year, genres (A|B, or empty)
    users.csv    user, age, gender, occupation; only in releases that have it (100k and 1M)

IDs and times (seconds since the Unix epoch) are integers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cofactor.errors import FetchError

__all__ = [
    "CSV",
    "DAT",
    "DAT_WITH_USERS",
    "RECBOLE",
    "U_DATA",
    "Layout",
    "read_items",
    "read_ratings",
    "read_users",
]

RATING = {"user": pl.Int64, "item": pl.Int64, "value": pl.Float32, "time": pl.Int64}
ITEM = {"item": pl.Int64, "title": pl.String, "year": pl.Int64, "genres": pl.String}
USER = {"user": pl.Int64, "age": pl.Int64, "gender": pl.String, "occupation": pl.String}
NO_GENRES = ("unknown", "(no genres listed)", "")


@dataclass(frozen=True)
class Layout:
    """File layout of a release: the names of its tables and the functions that read them.

    Attributes
    ----------
    ratings : str
        File name of the ratings.
    suffix : str
        Suffix of the canonical ratings file.
    items : str
        File name of the item table.
    read_item_table : callable
        Function that reads the item table (Path) into the canonical DataFrame.
    users : str or None
        File name of the user table; None if there is none.
    read_user_table : callable or None
        Function that reads the user table (Path) into the canonical DataFrame.
    header : bytes
        First line of the ratings file, which is omitted from the canonical file; empty if there is none.
    """

    ratings: str
    suffix: str
    items: str
    read_item_table: Callable[[Path], pl.DataFrame]
    users: str | None = None
    read_user_table: Callable[[Path], pl.DataFrame] | None = None
    header: bytes = b""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the two or three files that a release with this layout contains."""
        return (self.ratings, self.items, *([self.users] if self.users else []))

    def write_canonical(self, folder: Path, target: Path) -> None:
        """Convert the files of a release to the canonical files.

        Parameters
        ----------
        folder : Path
            Folder with the files of the release.
        target : Path
            Folder for the canonical files.

        Raises
        ------
        FetchError
            If a file is missing or has a different layout.
        """
        try:
            self._copy_ratings(folder / self.ratings, target / f"ratings{self.suffix}")
            self.read_item_table(folder / self.items).write_csv(target / "items.csv")
            if self.users and self.read_user_table:
                self.read_user_table(folder / self.users).write_csv(target / "users.csv")
        except FileNotFoundError as error:
            raise FetchError(f"{Path(str(error.filename)).name} is missing from the data set") from error
        except (ValueError, KeyError, IndexError, pl.exceptions.PolarsError) as error:
            reason = str(error).partition("\n")[0]
            raise FetchError(f"the item or user table is not in the expected layout: {reason}") from error

    def _copy_ratings(self, source: Path, target: Path) -> None:
        """Copy the ratings file without its header."""
        with source.open("rb") as file, target.open("wb") as out:
            if self.header and file.readline().rstrip(b"\r\n") != self.header:
                raise FetchError(f"{source.name} does not begin with the header {self.header.decode()!r}")
            shutil.copyfileobj(file, out, 1 << 20)


def read_ratings(path: Path) -> pl.DataFrame:
    """Read a canonical ratings file.

    Parameters
    ----------
    path : Path
        Path whose suffix determines the format: `.tsv` has tabs and no header, `.dat` double colons and no header,
        `.csv` commas and a header.

    Returns
    -------
    polars.DataFrame
        Columns user, item (Int64), value (Float32) and time (Int64), in the order of the file.

    Raises
    ------
    FetchError
        If the file has a different format or is truncated.
    """
    try:
        if path.suffix == ".csv":
            types = dict(zip(CSV_HEADER, RATING.values(), strict=True))
            frame = pl.read_csv(path, glob=False, columns=list(CSV_HEADER), schema_overrides=types)
            frame = frame.rename(dict(zip(CSV_HEADER, RATING, strict=True)))
        elif path.suffix == ".dat":  # "::" reads as ":" around an empty column
            columns = pl.read_csv(
                path, glob=False, separator=":", has_header=False, columns=[0, 2, 4, 6], infer_schema=False
            )
            frame = columns.rename(dict(zip(columns.columns, RATING, strict=True))).cast(pl.Schema(RATING))
        else:
            frame = pl.read_csv(path, glob=False, separator="\t", has_header=False, schema=RATING)
    except (ValueError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0]
        raise FetchError(f"{path.name} is not in the expected layout: {reason}") from error
    if sum(frame.null_count().row(0)):
        raise FetchError(f"{path.name} has rows with missing fields: it is truncated or was modified")
    return frame


def read_items(folder: Path) -> pl.DataFrame:
    """Read the canonical item table of a fetched data set.

    Parameters
    ----------
    folder : Path
        Folder of the data set, as returned by `fetch`.

    Returns
    -------
    polars.DataFrame
        Columns item, title, year and genres.
    """
    return pl.read_csv(folder / "items.csv", glob=False, schema=ITEM)


def read_users(folder: Path) -> pl.DataFrame | None:
    """Read the canonical user table of a fetched data set.

    Parameters
    ----------
    folder : Path
        Folder of the data set, as returned by `fetch`.

    Returns
    -------
    polars.DataFrame or None
        Columns user, age, gender and occupation; None if the data set has no user table.
    """
    path = folder / "users.csv"
    return pl.read_csv(path, glob=False, schema=USER) if path.exists() else None


def _lines(path: Path, separator: str) -> list[list[str]]:
    """Return the fields of each line, decoded as UTF-8 or, for releases up to 1M, as Latin-1."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return [line.split(separator) for line in text.replace("\r\n", "\n").split("\n") if line]


def _items(rows: list[tuple[str, str, str]]) -> pl.DataFrame:
    """Build the canonical item table from (item, title, genres) rows; the year comes from the end of the title."""
    text = pl.DataFrame(rows, schema={"item": pl.String, "title": pl.String, "genres": pl.String}, orient="row")
    return text.select(
        pl.col("item").cast(pl.Int64),
        pl.col("title").str.strip_chars(),
        year=pl.col("title").str.extract(r".*\((\d{4})(?:\)|[-\u2013])").cast(pl.Int64),
        genres=pl.when(~pl.col("genres").is_in(NO_GENRES)).then("genres"),
    )


def _users(rows: list[tuple[str, str, str, str]]) -> pl.DataFrame:
    """Build the canonical user table from (user, age, gender, occupation) rows."""
    return pl.DataFrame(rows, schema=dict.fromkeys(USER, pl.String), orient="row").cast(pl.Schema(USER))


def _u_item(path: Path) -> pl.DataFrame:
    """Read u.item, which has one flag column per genre."""
    rows = _lines(path, "|")
    return _items([(r[0], r[1], "|".join(g for g, f in zip(GENRES, r[5:], strict=True) if f == "1")) for r in rows])


def _u_user(path: Path) -> pl.DataFrame:
    """Read u.user."""
    return _users([(r[0], r[1], r[2], r[3]) for r in _lines(path, "|")])


def _recbole_item(path: Path) -> pl.DataFrame:
    """Read the item table of the RecBole mirror.

    The mirror has the year in a separate column ("Toy Story", 1995) and separates genres with spaces, which no genre
    contains. With the year appended, titles equal the published ones, except for accents in nine titles that copies of
    u.item have lost. The title of item 267, "unknown", is misspelled in the mirror; it has no year and no genres.
    """
    rows = _lines(path, "\t")[1:]
    missing = {"unkonwn", "unknown", ""}
    titles = ["unknown" if r[1] in missing else r[1] if r[2] in missing else f"{r[1]} ({r[2]})" for r in rows]
    return _items([(r[0], title, r[3].replace(" ", "|")) for r, title in zip(rows, titles, strict=True)])


def _recbole_user(path: Path) -> pl.DataFrame:
    """Read the user table of the RecBole mirror."""
    return _users([(r[0], r[1], r[2], r[3]) for r in _lines(path, "\t")[1:]])


def _dat_item(path: Path) -> pl.DataFrame:
    """Read movies.dat; titles may contain the separator "::"."""
    return _items([(r[0], "::".join(r[1:-1]), r[-1]) for r in _lines(path, "::")])


def _dat_user(path: Path) -> pl.DataFrame:
    """Read users.dat, where the age is the lower end of a range: 1 (under 18), 18, 25, 35, 45, 50 or 56."""
    return _users([(r[0], r[2], r[1], OCCUPATIONS[int(r[3])]) for r in _lines(path, "::")])


def _csv_item(path: Path) -> pl.DataFrame:
    """Read movies.csv."""
    frame = pl.read_csv(path, glob=False, columns=["movieId", "title", "genres"], infer_schema=False)
    return _items(frame.select("movieId", "title", pl.col("genres").fill_null("")).rows())


CSV_HEADER = ("userId", "movieId", "rating", "timestamp")
# fmt: off
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War",
    "Western",
)
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer",
    "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)
# fmt: on

U_DATA = Layout("u.data", ".tsv", "u.item", _u_item, "u.user", _u_user)
DAT = Layout("ratings.dat", ".dat", "movies.dat", _dat_item)
DAT_WITH_USERS = Layout("ratings.dat", ".dat", "movies.dat", _dat_item, "users.dat", _dat_user)
CSV = Layout("ratings.csv", ".csv", "movies.csv", _csv_item)
RECBOLE = Layout(
    "ml-100k.inter",
    ".tsv",
    "ml-100k.item",
    _recbole_item,
    "ml-100k.user",
    _recbole_user,
    header=b"user_id:token\titem_id:token\trating:float\ttimestamp:float",
)
