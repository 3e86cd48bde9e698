"""Exceptions raised by cofactor; each message says what is wrong, where, and what to do."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "ArtifactError",
    "ClusterError",
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
    """Base class of all cofactor exceptions; the command line prints them on one line, without a traceback.

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
    """Error for invalid data, such as a missing rating; the message names the row, column or ID.

    Also a ValueError.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, float("nan")])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: row 2 of values: nan ...
    """


class KindError(DataError):
    """Error for ratings where events are required, or vice versa, or for a method that the model does not support.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
    >>> cofactor.Popularity().fit(ratings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.KindError: popularity ...
    """


class LeakageError(CofactorError):
    """Error for a split whose training set contains information from its test set, which would inflate metrics.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
    >>> cofactor.Split(ratings, ratings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'ana' and item 'alien' are in both train and test (and 1 more pair)...
    """


class MissingExtraError(CofactorError, ImportError):
    """Error for a feature whose optional dependencies are not installed; the message says how to install them.

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
    """Error for a call in a forked child process that needs threads that exist only in the parent.

    Start such processes with `multiprocessing.get_context("spawn")`. Also a RuntimeError.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> import cofactor
    >>> with patch("cofactor.fork._threads_lost", True):
    ...     cofactor.read_ratings("ratings.csv")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ForkError: this process was forked from one that had used polars, whose threads do not survive ...
    """


class ParameterError(CofactorError, ValueError):
    """Error for an argument or hyperparameter that has the wrong type or is out of range.

    Also a ValueError.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.BiasedMF(factors=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: biased-mf: factors must ...
    """


class UnknownIdError(CofactorError, KeyError):
    """Error for an ID that is not in the table or the model.

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
    """Error for a model file that is missing, damaged, incomplete, not writable, or in an unknown or newer format.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.Recommender.load("missing.cofactor")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ArtifactError: missing.cofactor ...
    """


class FetchError(CofactorError):
    """Error for a data set that cannot be downloaded or whose checksum does not match.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.datasets.fetch("movielens-100")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.FetchError: unknown data set name 'movielens-100'; available: ...
    """


class DivergedError(CofactorError):
    """Error for a fit whose loss rises, or whose loss or parameters are no longer finite; no model is returned.

    Parameters
    ----------
    epoch : int
        Epoch, counted from 1, after which the divergence was detected.
    loss : float
        Training loss in that epoch; can be nan or inf.
    advice : str
        Suggested change.

    Attributes
    ----------
    epoch, loss, advice
        The arguments.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> cofactor.BiasedMF(learning_rate=10, rating_range=None).fit(ratings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DivergedError: the fit diverged in epoch ... (loss ...): ...
    """

    def __init__(self, epoch: int, loss: float, advice: str):
        self.epoch = epoch
        self.loss = loss
        self.advice = advice
        super().__init__(f"the fit diverged in epoch {epoch} (loss {loss:g}): {advice}")

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, float, str]]:
        return type(self), (self.epoch, self.loss, self.advice)


class StoreError(CofactorError):
    """Error for a store that cannot be opened or that rejects an operation, such as using an unknown model version.

    Examples
    --------
    >>> from cofactor.store import Store
    >>> Store.open("mysql://host/shop")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.StoreError: ...mysql://host/shop...
    """


class StoreUnavailableError(StoreError):
    """Error for an unresponsive database or a full disk; the store recovers without a restart, so retry later.

    Parameters
    ----------
    message : str
        Error message.
    written : {'no', 'unknown'}
        Whether data was written; "unknown" if the response to a commit was lost. In either case, nothing was
        acknowledged, and events with an idempotency key can safely be sent again.

    Attributes
    ----------
    written : {'no', 'unknown'}
        Whether data was written.

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


class ClusterError(CofactorError):
    """Error of Apache Spark, such as a master that cannot be reached; the message has one sentence."""


class ConflictError(StoreError):
    """Error for an idempotency key that was already used for a different event; nothing in the request was stored.

    Parameters
    ----------
    message : str
        Error message.
    places : tuple of int
        Positions of the conflicting events in the request, counted from 1.

    Attributes
    ----------
    places : tuple of int
        Positions of the conflicting events.

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
    """Error for a job that is no longer assigned to the calling worker; the worker must stop working on it.

    Either the worker sent no heartbeat in time, so another worker may be running the job, or the job is finished.

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
