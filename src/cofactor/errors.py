"""The errors cofactor raises on purpose: each says what was wrong, where, and what to do about it."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "ArtifactError",
    "CofactorError",
    "ConflictError",
    "DataError",
    "DivergedError",
    "FetchError",
    "ForkError",
    "JobLostError",
    "KindError",
    "LeakageError",
    "MissingExtraError",
    "ParameterError",
    "StoreError",
    "StoreUnavailableError",
    "UnknownIdError",
]


class CofactorError(Exception):
    """Everything cofactor raises on purpose. The CLI prints these as one line, without a traceback.

    >>> import cofactor
    >>> clicks = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], kind="events")
    >>> try:
    ...     cofactor.Bias().fit(clicks)
    ... except cofactor.CofactorError as problem:
    ...     print(problem)
    bias learns from ratings, and these are events; try implicit-als
    """


class DataError(CofactorError, ValueError):
    """A table that cannot be used as it is: the message names the row, the column or the id. A ValueError, too.

    >>> import cofactor
    >>> cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, float("nan")])
    Traceback (most recent call last):
    cofactor.errors.DataError: row 2 of values: nan is not a usable number
    """


class KindError(DataError):
    """Ratings where events are needed, or events where ratings are needed; or a model that cannot do what is asked.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
    >>> cofactor.Popularity().fit(ratings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.KindError: popularity learns from events (clicks, plays, purchases), and these are ratings; ...
    """


class LeakageError(CofactorError):
    """A split whose training part knows something of its test part: what is measured on it would be too good.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
    >>> cofactor.Split(ratings, ratings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'ana' and item 'alien' stand in train and in test (and 1 more pair): ...
    """


class MissingExtraError(CofactorError, ImportError):
    """A part of cofactor whose libraries are not installed: the message says which to install. An ImportError, too.

    >>> from unittest.mock import patch
    >>> from cofactor.plots import require_plotly
    >>> with patch("cofactor.plots.look.find_spec", return_value=None):
    ...     require_plotly()
    Traceback (most recent call last):
    cofactor.errors.MissingExtraError: figures need plotly, which is not installed: pip install "cofactor[report]"
    """


class ForkError(CofactorError, RuntimeError):
    """A call that needs threads of the parent process, in a child made by `fork`: they do not exist there.

    Start such processes with `multiprocessing.get_context("spawn")`. A RuntimeError, too.

    >>> from unittest.mock import patch
    >>> import cofactor
    >>> with patch("cofactor.fork._lost", True):
    ...     cofactor.read_ratings("ratings.csv")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ForkError: this process was forked from one that had used polars, whose threads do not survive ...
    """


class ParameterError(CofactorError, ValueError):
    """A hyper-parameter or an argument outside the range it is defined on. A ValueError, too.

    >>> import cofactor
    >>> cofactor.BiasedMF(factors=0)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: biased-mf: factors must be from 1 to 1024, not 0
    """


class UnknownIdError(CofactorError, KeyError):
    """An id that the table or the model does not have. A KeyError, too.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
    >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).recommend("cy")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.UnknownIdError: user 'cy' is not a known id; for somebody new, ...
    """

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class ArtifactError(CofactorError):
    """A model file that is missing, damaged, cut short, foreign or newer than this version, or cannot be written.

    >>> import cofactor
    >>> cofactor.Recommender.load("nowhere.cofactor")
    Traceback (most recent call last):
    cofactor.errors.ArtifactError: nowhere.cofactor cannot be read: No such file or directory
    """


class FetchError(CofactorError):
    """A data set that could not be fetched, or is not what its maker published.

    >>> import cofactor
    >>> cofactor.fetch("movielens-100")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.FetchError: unknown data set name 'movielens-100'; the names are ...
    """


class DivergedError(CofactorError):
    """A fit whose loss or parameters stopped being finite: no model is returned that would predict nan.

    Attributes:

        epoch: the epoch, counted from 1, after which it was noticed.
        loss: the training loss of that epoch (may be nan or inf).
        advice: what to change.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> cofactor.BiasedMF(rate=10, rating_range=None).fit(ratings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DivergedError: the fit diverged in epoch ... (loss inf): lower rate, raise l2, ...
    """

    def __init__(self, epoch: int, loss: float, advice: str):
        self.epoch = epoch
        self.loss = loss
        self.advice = advice
        super().__init__(f"the fit diverged in epoch {epoch} (loss {loss:g}): {advice}")

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, float, str]]:
        return type(self), (self.epoch, self.loss, self.advice)


class StoreError(CofactorError):
    """A store that cannot be opened or cannot do what is asked: no store, a newer one, a model it does not know.

    >>> from cofactor.store import Store
    >>> Store.open("mysql://host/shop")
    Traceback (most recent call last):
    cofactor.errors.StoreError: a store is sqlite:///file.db or postgresql://user@host/name, not mysql://host/shop
    """


class StoreUnavailableError(StoreError):
    """The database does not answer, or its disk is full; try again later: the store recovers by itself.

    Attributes:

        written: "no", or "unknown" where the answer to a commit was lost. Nothing was acknowledged either way; with an
            idempotency key the same events can be sent again in safety.

    >>> StoreUnavailableError("shop.db: database or disk is full", written="no").written
    'no'
    """

    def __init__(self, message: str, written: Literal["no", "unknown"]):
        self.written = written
        super().__init__(message)

    def __reduce__(self) -> tuple[type[StoreUnavailableError], tuple[str, Literal["no", "unknown"]]]:
        return type(self), (str(self), self.written)


class ConflictError(StoreError):
    """An idempotency key that was used before, for another event; nothing of the request was stored.

    Attributes:

        places: which events of the request, counted from 1.

    >>> ConflictError("event 2: key 'a' was used before", (2,)).places
    (2,)
    """

    def __init__(self, message: str, places: tuple[int, ...]):
        self.places = places
        super().__init__(message)

    def __reduce__(self) -> tuple[type[ConflictError], tuple[str, tuple[int, ...]]]:
        return type(self), (str(self), self.places)


class JobLostError(StoreError):
    """A job that is no longer its worker's: it was taken for dead, and another may have it. Stop working on it.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.jobs.enqueue("train")
    ...     job = store.jobs.claim("trainer-1")
    ...     store.jobs.finish(job)
    ...     store.jobs.heartbeat(job)
    Traceback (most recent call last):
    cofactor.errors.JobLostError: job 1 is no longer trainer-1's: it was taken for dead, or is over
    """
