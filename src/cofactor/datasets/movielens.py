"""The file layouts MovieLens came in over the years, read into one canonical form.

    ratings.*    the maker's own bytes and order, whose ending says which of three formats it is
    items.csv    item, title (with its year, as the maker writes it), year, genres (A|B, or none)
    users.csv    user, age, gender, occupation; only where the maker tells (100k and 1M)

Ids and times (seconds since 1970) are integers.
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
    """Where a release keeps its three tables, and how its titles and people are read.

    Attributes:

        ratings, items, users: file names; the ratings' canonical name is `ratings` with `ending`.
        items_of, users_of: from a file to the canonical frame.
        header: a first line of the ratings that the canonical form does not have.
    """

    ratings: str
    ending: str
    items: str
    items_of: Callable[[Path], pl.DataFrame]
    users: str | None = None
    users_of: Callable[[Path], pl.DataFrame] | None = None
    header: bytes = b""

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the two or three files that are read."""
        return (self.ratings, self.items, *([self.users] if self.users else []))

    def canonical(self, folder: Path, target: Path) -> None:
        """Write the canonical files into `target`. Raises FetchError for files in another layout."""
        try:
            self._copy_ratings(folder / self.ratings, target / f"ratings{self.ending}")
            self.items_of(folder / self.items).write_csv(target / "items.csv")
            if self.users and self.users_of:
                self.users_of(folder / self.users).write_csv(target / "users.csv")
        except FileNotFoundError as error:
            raise FetchError(f"{Path(str(error.filename)).name} is missing from the data set") from error
        except (ValueError, KeyError, IndexError, pl.exceptions.PolarsError) as error:
            first = str(error).partition("\n")[0]
            raise FetchError(f"the item or user table is not in the maker's layout: {first}") from error

    def _copy_ratings(self, source: Path, target: Path) -> None:
        with source.open("rb") as file, target.open("wb") as out:
            if self.header and file.readline().rstrip(b"\r\n") != self.header:
                raise FetchError(f"{source.name} does not begin with the header {self.header.decode()!r}")
            shutil.copyfileobj(file, out, 1 << 20)


def read_ratings(path: Path) -> pl.DataFrame:
    """A frame of user, item (Int64), value (Float32), time (Int64), in the order of the file.

    `.tsv` has tabs and no header, `.dat` two colons and no header, `.csv` commas and a header.
    Raises FetchError for anything else, a cut file included.
    """
    try:
        if path.suffix == ".csv":
            types = dict(zip(CSV_HEADER, RATING.values(), strict=True))
            frame = pl.read_csv(path, glob=False, columns=list(CSV_HEADER), schema_overrides=types)
            frame = frame.rename(dict(zip(CSV_HEADER, RATING, strict=True)))
        elif path.suffix == ".dat":  # "::" is ":" around an empty column
            kept = pl.read_csv(
                path, glob=False, separator=":", has_header=False, columns=[0, 2, 4, 6], infer_schema=False
            )
            frame = kept.rename(dict(zip(kept.columns, RATING, strict=True))).cast(pl.Schema(RATING))
        else:
            frame = pl.read_csv(path, glob=False, separator="\t", has_header=False, schema=RATING)
    except (ValueError, pl.exceptions.PolarsError) as error:
        first = str(error).partition("\n")[0]
        raise FetchError(f"{path.name} is not in the maker's layout: {first}") from error
    if sum(frame.null_count().row(0)):
        raise FetchError(f"{path.name} has rows with missing fields: it was cut or changed")
    return frame


def read_items(folder: Path) -> pl.DataFrame:
    """The canonical item table of a fetched data set: item, title, year, genres."""
    return pl.read_csv(folder / "items.csv", glob=False, schema=ITEM)


def read_users(folder: Path) -> pl.DataFrame | None:
    """The canonical user table of a fetched data set (user, age, gender, occupation), None where there is none."""
    path = folder / "users.csv"
    return pl.read_csv(path, glob=False, schema=USER) if path.exists() else None


def _lines(path: Path, separator: str) -> list[list[str]]:
    """Fields by line. UTF-8, or else Latin-1, which the releases up to 1M are written in."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return [line.split(separator) for line in text.replace("\r\n", "\n").split("\n") if line]


def _items(rows: list[tuple[str, str, str]]) -> pl.DataFrame:
    """Canonical from (item, title, genres); the year is the last one in brackets in the title."""
    text = pl.DataFrame(rows, schema={"item": pl.String, "title": pl.String, "genres": pl.String}, orient="row")
    return text.select(
        pl.col("item").cast(pl.Int64),
        pl.col("title").str.strip_chars(),
        year=pl.col("title").str.extract(r".*\((\d{4})(?:\)|[-\u2013])").cast(pl.Int64),
        genres=pl.when(~pl.col("genres").is_in(NO_GENRES)).then("genres"),
    )


def _users(rows: list[tuple[str, str, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(USER, pl.String), orient="row").cast(pl.Schema(USER))


def _u_item(path: Path) -> pl.DataFrame:
    rows = _lines(path, "|")
    return _items([(r[0], r[1], "|".join(g for g, f in zip(GENRES, r[5:], strict=True) if f == "1")) for r in rows])


def _u_user(path: Path) -> pl.DataFrame:
    return _users([(r[0], r[1], r[2], r[3]) for r in _lines(path, "|")])


def _recbole_item(path: Path) -> pl.DataFrame:
    """The mirror keeps the year apart ("Toy Story", 1995) and parts genres by blanks (no genre has one).

    With the year put back the titles are the maker's, but for accents in nine of them that copies of u.item
    have lost. The nameless film (267) is misspelled here; both call it "unknown", without year and genres.
    """
    rows = _lines(path, "\t")[1:]
    nameless = {"unkonwn", "unknown", ""}
    titles = ["unknown" if r[1] in nameless else r[1] if r[2] in nameless else f"{r[1]} ({r[2]})" for r in rows]
    return _items([(r[0], title, r[3].replace(" ", "|")) for r, title in zip(rows, titles, strict=True)])


def _recbole_user(path: Path) -> pl.DataFrame:
    return _users([(r[0], r[1], r[2], r[3]) for r in _lines(path, "\t")[1:]])


def _dat_item(path: Path) -> pl.DataFrame:
    return _items([(r[0], "::".join(r[1:-1]), r[-1]) for r in _lines(path, "::")])


def _dat_user(path: Path) -> pl.DataFrame:
    """Age is the lower end of the maker's bracket (1, 18, 25, 35, 45, 50, 56); 1 means under 18."""
    return _users([(r[0], r[2], r[1], OCCUPATIONS[int(r[3])]) for r in _lines(path, "::")])


def _csv_item(path: Path) -> pl.DataFrame:
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
