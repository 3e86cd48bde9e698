"""Exceptions of cofactor: each message says what is wrong, where, and what to do."""

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
    """Base class of all cofactor exceptions; the command line prints them in one line, without a traceback.

    Examples
    --------
    >>> import cofactor
    >>> clicks = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], kind="events")
    >>> try:
    ...     cofactor.Bias().fit(clicks)
    ... except cofactor.CofactorError as problem:
    ...     print(problem)  # doctest: +ELLIPSIS
    bias ... implicit-als
    """


class DataError(CofactorError, ValueError):
    """Invalid data, such as a table with a missing rating; the message names the row, the column or the ID.

    Also a ValueError.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, float("nan")])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: row 2 of values: nan ...
    """


class KindError(DataError):
    """Ratings instead of events, events instead of ratings, or a model that does not support the requested method.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
    >>> cofactor.Popularity().fit(ratings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.KindError: popularity ...
    """


class LeakageError(CofactorError):
    """A split whose training part contains information of its test part, so that metrics would be too optimistic.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
    >>> cofactor.Split(ratings, ratings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'ana' and item 'alien' ... train and ... test (and 1 more pair)...
    """


class MissingExtraError(CofactorError, ImportError):
    """A part of cofactor whose dependencies are not installed; the message says how to install them.

    Also an ImportError.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> from cofactor.plots import require_plotly
    >>> with patch("cofactor.plots.theme.find_spec", return_value=None):
    ...     require_plotly()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.MissingExtraError: ...pip install "cofactor[report]"
    """


class ForkError(CofactorError, RuntimeError):
    """A call in a forked child process that needs threads which exist in the parent only.

    Start such processes with `multiprocessing.get_context("spawn")`. Also a RuntimeError.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> import cofactor
    >>> with patch("cofactor.fork._lost", True):
    ...     cofactor.read_ratings("ratings.csv")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ForkError: this process was forked from one that had used polars, whose threads do not survive ...
    """


class ParameterError(CofactorError, ValueError):
    """A hyper-parameter or an argument of the wrong type or outside its range.

    Also a ValueError.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.BiasedMF(factors=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: biased-mf: factors must ...
    """


class UnknownIdError(CofactorError, KeyError):
    """An ID that is not in the table or the model.

    Also a KeyError.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
    >>> cofactor.Recommender.fit(cofactor.Bias(), ratings).recommend("cy")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.UnknownIdError: ...'cy' ...
    """

    def __str__(self) -> str:  # KeyError prints the repr of its argument
        return str(self.args[0]) if self.args else ""


class ArtifactError(CofactorError):
    """A model file that is missing, damaged, incomplete, of another format or newer than this version, or not writable.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.Recommender.load("missing.cofactor")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ArtifactError: missing.cofactor ...
    """


class FetchError(CofactorError):
    """A data set that could not be downloaded, or whose checksum is wrong.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.datasets.fetch("movielens-100")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.FetchError: unknown data set name 'movielens-100'; available: ...
    """


class DivergedError(CofactorError):
    """A fit whose loss or parameters are no longer finite; no model is returned, since it would predict nan.

    Parameters
    ----------
    epoch : int
        The epoch, from 1, after which the divergence was detected.
    loss : float
        The training loss of that epoch, which may be nan or inf.
    advice : str
        What to change.

    Attributes
    ----------
    epoch, loss, advice
        The parameters.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> cofactor.BiasedMF(learning_rate=10, rating_range=None).fit(ratings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DivergedError: the fit diverged in epoch ... (loss inf): ...
    """

    def __init__(self, epoch: int, loss: float, advice: str):
        self.epoch = epoch
        self.loss = loss
        self.advice = advice
        super().__init__(f"the fit diverged in epoch {epoch} (loss {loss:g}): {advice}")

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, float, str]]:
        return type(self), (self.epoch, self.loss, self.advice)


class StoreError(CofactorError):
    """A store that cannot be opened or an operation that it rejects, such as the use of an unknown model version.

    Examples
    --------
    >>> from cofactor.store import Store
    >>> Store.open("mysql://host/shop")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.StoreError: ...mysql://host/shop...
    """


class StoreUnavailableError(StoreError):
    """A database that does not respond or whose disk is full; the store recovers without a restart, so retry later.

    Parameters
    ----------
    message : str
        The message.
    written : {'no', 'unknown'}
        Whether data was written; "unknown" if the response to a commit was lost. In both cases nothing was
        acknowledged. Events with an idempotency key can be sent again safely.

    Attributes
    ----------
    written : {'no', 'unknown'}
        The parameter.

    Examples
    --------
    >>> StoreUnavailableError("shop.db: database or disk is full", written="no").written
    'no'
    """

    def __init__(self, message: str, written: Literal["no", "unknown"]):
        self.written = written
        super().__init__(message)

    def __reduce__(self) -> tuple[type[StoreUnavailableError], tuple[str, Literal["no", "unknown"]]]:
        return type(self), (str(self), self.written)


class ConflictError(StoreError):
    """An idempotency key that was used before for another event; nothing of the request was stored.

    Parameters
    ----------
    message : str
        The message.
    places : tuple of int
        The numbers of these events in the request, from 1.

    Attributes
    ----------
    places : tuple of int
        The parameter.

    Examples
    --------
    >>> ConflictError("event 2: key 'a' was used before", (2,)).places
    (2,)
    """

    def __init__(self, message: str, places: tuple[int, ...]):
        self.places = places
        super().__init__(message)

    def __reduce__(self) -> tuple[type[ConflictError], tuple[str, tuple[int, ...]]]:
        return type(self), (str(self), self.places)


class JobLostError(StoreError):
    """A job that is no longer assigned to the worker; stop working on it.

    The worker sent no heartbeat in time, so that another worker may run the job, or the job is finished.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.jobs.enqueue("train")
    ...     job = store.jobs.claim("trainer-1")
    ...     store.jobs.finish(job)
    ...     store.jobs.heartbeat(job)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.JobLostError: job 1 ...trainer-1...
    """
