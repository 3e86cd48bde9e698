"""Hyperparameter search on a validation set; the test set is used only once, at the end.

The search uses the tree-structured Parzen estimator (TPE) sampler from Optuna, which is part of the extra `tune` and is
imported when a search starts.

References
----------
Bergstra et al. (2011), "Algorithms for hyperparameter optimization", NeurIPS.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any, Literal

import polars as pl

from cofactor import checks
from cofactor.arrays import plain, random_stream
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions
from cofactor.errors import CofactorError, DataError, DivergedError, MissingExtraError, ParameterError
from cofactor.estimators.base import Estimator
from cofactor.evaluate.evaluation import Score, fit_and_score, primary_value
from cofactor.evaluate.search_space import Range, search_space
from cofactor.evaluate.split import Exclude, Split, require_split
from cofactor.evaluate.validation_split import split_for_validation
from cofactor.kernels.parallel import SharedLimit
from cofactor.metrics.base import Metric
from cofactor.metrics.registry import metric_named, primary_metric
from cofactor.recommender.recommender import Recommender

__all__ = ["Trial", "TuningResult", "tune"]

SQLITE_HEADER = b"SQLite format 3\0"


class _ForwardingHandler(logging.Handler):
    """Handler that forwards Optuna log records to the logger "cofactor", at level DEBUG if below WARNING."""

    def emit(self, record: logging.LogRecord) -> None:
        """Forward a log record of Optuna to the logger "cofactor"."""
        level = record.levelno if record.levelno >= logging.WARNING else logging.DEBUG
        logging.getLogger("cofactor").log(level, "optuna: %s", record.getMessage())


def _redirect_optuna() -> Callable[[], None]:
    """Redirect the Optuna logger, and return a function that restores it."""
    with suppress(ImportError):
        import optuna  # noqa: F401 - the import installs Optuna's own handler, so it must come first
    logger = logging.getLogger("optuna")
    handlers, propagate = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [_ForwardingHandler()], False

    def restore_logging() -> None:
        logger.handlers[:], logger.propagate = handlers, propagate

    return restore_logging


forward_optuna_logs = SharedLimit(_redirect_optuna)
"""Context manager and decorator that forwards Optuna log records to the logger "cofactor" and restores it on exit."""


@dataclass(frozen=True)
class Trial:
    """Hyperparameter values of one trial, and the resulting metric.

    Attributes
    ----------
    number : int
        Trial number, starting at 0; trial 0 uses the hyperparameters of the estimator passed to `tune`.
    settings : dict of str to float
        Values of the searched hyperparameters.
    value : float
        Primary metric on the validation set; nan if the fit failed.
    seconds : float
        Wall-clock time for fitting and scoring.
    error : str or None
        Error message if the fit failed; None if it succeeded.

    Examples
    --------
    >>> Trial(0, {"l2": 0.05}, value=0.91, seconds=1.5).error is None
    True
    """

    number: int
    settings: dict[str, float]
    value: float
    seconds: float
    error: str | None = None


@dataclass(frozen=True, eq=False)
class TuningResult:
    """Best hyperparameters and all trials of a hyperparameter search; returned by `tune`.

    Attributes
    ----------
    estimator : Estimator
        Unfitted estimator with the best hyperparameters.
    metric : str
        Name of the metric: "rmse" or "ndcg@k".
    validation : float
        Best value of the metric on the validation set.
    test : Score
        Score on the test set of the best estimator, trained on the full training set. The test set is used for nothing
        else.
    trials : tuple of Trial
        All trials, in order.
    resumed : int
        Number of trials that were already in the storage.
    description : str
        Description of the split.
    validation_description : str
        Description of the validation split.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> tuned = cofactor.evaluate.tune(cofactor.Bias(), cofactor.split_random(ratings), trials=2)
    >>> tuned.history.columns, tuned.estimator.name
    (['trial', 'value', 'best', 'seconds', 'error', 'damping'], 'bias')
    """

    estimator: Estimator
    metric: str
    validation: float
    test: Score
    trials: tuple[Trial, ...]
    resumed: int
    description: str
    validation_description: str

    @property
    def history(self) -> pl.DataFrame:
        """Table with one row per trial: trial, value, best (so far), seconds, error, and the searched hyperparameters.

        `value` is nan if the fit failed, and `best` is nan until a fit succeeds.
        """
        best, rows, metric = nan, [], metric_named(self.metric)
        for trial in self.trials:
            best = min(best, trial.value, key=metric.sort_key)
            rows.append({"trial": trial.number, "value": trial.value, "best": best, "seconds": trial.seconds,
                         "error": trial.error, **trial.settings})  # fmt: skip
        return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col("error").cast(pl.String))

    def as_dict(self) -> dict[str, Any]:
        """Return the result of the hyperparameter search as a JSON-serializable dict.

        Returns
        -------
        dict
            Best estimator, its validation and test metrics, and all trials; nan becomes None.
        """
        return {
            "split": self.description,
            "validation_split": self.validation_description,
            "metric": self.metric,
            "estimator": self.estimator.to_dict(),
            "validation": self.validation,
            "test": plain(self.test.metrics[self.metric]._asdict()),
            "resumed": self.resumed,
            "trials": [
                {"trial": t.number, "value": plain(t.value), "seconds": t.seconds,
                 "error": t.error, "settings": t.settings}
                for t in self.trials
            ],
        }  # fmt: skip


def tune(
    estimator: Estimator,
    split: Split,
    *,
    trials: int = 50,
    fixed: Collection[str] = (),
    storage: str | Path | None = None,
    validation: float = 0.2,
    k: int = 10,
    seed: Seed = 0,
    exclude: Exclude = "seen",
    on_trial: Callable[[Trial], None] | None = None,
) -> TuningResult:
    """Search for the hyperparameters of an estimator that are best on a validation set.

    Parameters
    ----------
    estimator : Estimator
        Estimator to tune; its own hyperparameters are the first trial. `evaluate.search_space` determines the ranges.
    split : Split
        Split to tune on. The validation set is split off from its training set in the same way as the test set; trials
        are trained on the remaining rows.
    trials : int, default 50
        Total number of trials, including those in `storage`.
    fixed : collection of str, default ()
        Hyperparameters to keep fixed.
    storage : str or Path, optional
        SQLite file in which all trials are stored. Calling `tune` again with the same arguments and data resumes an
        interrupted search, with the same result as without the interruption, or adds trials up to `trials`. Searches
        with other models, data or seeds can share the file.
    validation : float, default 0.2
        Share of the training set to use for validation, between 0 and 1.
    k : int, default 10
        Cutoff for NDCG, for events.
    seed : int, Generator or None, default 0
        Seed for the search, the fits and the validation split; the same seed gives the same result.
    exclude : {'seen', 'positives'}, default "seen"
        As in `evaluate`.
    on_trial : callable, optional
        Called with each `Trial` after it finishes.

    Returns
    -------
    TuningResult
        Best hyperparameters and all trials. A fit that diverges counts as a failed trial, and the search continues.

    Raises
    ------
    MissingExtraError
        If Optuna is not installed.
    ParameterError
        If an argument is invalid, or the estimator has no hyperparameters to search.
    KindError
        If the estimator requires the other kind of table.
    DataError
        If the data cannot be fitted or split, or the storage cannot be used.
    CofactorError
        If all trials failed.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> tuned = cofactor.evaluate.tune(cofactor.Bias(), cofactor.split_random(ratings), trials=3)
    >>> tuned.metric, len(tuned.trials), tuned.validation <= tuned.trials[0].value
    ('rmse', 3, True)
    """
    trials, k = (
        checks.whole_number("trials", trials, low=1),
        checks.whole_number("k", k, low=1, high=checks.MAX_LIST_LENGTH),
    )
    validation, seed = checks.fraction("validation", validation), checks.seed(seed)
    storage = None if storage is None else checks.path("storage", storage)
    checks.optional_callable("on_trial", on_trial)
    require_split("split", split)
    space = search_space(estimator, fixed=fixed, kind=split.train.kind)
    estimator.check_table(split.train)
    split.validate()
    split = split.excluding(exclude)
    validation_split, metric = (
        split_for_validation(split, share=validation, seed=seed),
        primary_metric(split.train.kind, k),
    )
    search_key = [
        estimator.to_json(),
        sorted(space),
        validation_split.description,
        metric.key,
        seed,
        fingerprint(split.train),
    ]
    with _storage_errors(storage):
        search = _Search(space, metric, seed, _study(storage, f"{estimator.name}-{_digest(search_key)}", metric))
        stored_trials = search.finished_trials()
    for number in range(len(stored_trials), trials):
        with _storage_errors(storage):
            settings = search.suggest(number, estimator)
        trial = _run_trial(number, estimator, settings, validation_split, k, seed)
        with _storage_errors(storage):
            search.record(trial)
        if on_trial is not None:
            on_trial(trial)
    with _storage_errors(storage):
        all_trials = search.finished_trials()
    best = _best(all_trials, metric)
    best_estimator = estimator.set_params(**best.settings)
    test = fit_and_score(best_estimator, split, label=estimator.name, ks=(k,), seed=seed, exclude=exclude)
    resumed = min(len(stored_trials), len(all_trials))
    return TuningResult(
        best_estimator,
        metric.key,
        best.value,
        test,
        all_trials,
        resumed,
        split.description,
        validation_split.description,
    )


def fingerprint(interactions: Interactions) -> str:
    """Return a short hash of the rows of a table.

    Parameters
    ----------
    interactions : Interactions
        Table to hash.

    Returns
    -------
    str
        16 hexadecimal digits that depend on the IDs, values, times and weights.

    Examples
    --------
    >>> table = Interactions.from_columns(["ana", "tom"], ["heat", "heat"], [3, 4])
    >>> fingerprint(table) == fingerprint(table.select([True, False]))
    False
    """
    digest = hashlib.sha256(interactions.kind.encode())
    for ids in (interactions.users, interactions.items):
        parts = (ids.integers, ids.offsets, ids.text)
        digest.update(b"".join(part.tobytes() for part in parts if part is not None))
    for table in (interactions, interactions.seen):
        if table is not None:
            for column in (table.u, table.i, table.values, table.times, table.weights):
                digest.update(b"-" if column is None else column.tobytes())
    return digest.hexdigest()[:16]


def _digest(search_key: list[Any]) -> str:
    """Return a short hash of the values that identify a search."""
    return hashlib.sha256(json.dumps(search_key).encode()).hexdigest()[:16]


def _run_trial(
    number: int, estimator: Estimator, settings: dict[str, float], validation: Split, k: int, seed: int
) -> Trial:  # fmt: skip
    """Fit and score one set of hyperparameters on the validation split."""
    start, value, error = time.perf_counter(), nan, None
    try:
        recommender = Recommender.fit(estimator.set_params(**settings), validation.train, seed=seed)
        value = primary_value(recommender, validation, k=k)
    except DivergedError as problem:
        error = str(problem)
    if error is None and isnan(value):
        raise DataError(
            f"the validation set ({validation.description}) has no users to evaluate on; increase validation"
        )
    return Trial(number, settings, value, time.perf_counter() - start, error)


def _best(trials: tuple[Trial, ...], metric: Metric) -> Trial:
    """Return the best trial; raise CofactorError if all trials failed."""
    best = min(trials, key=lambda trial: metric.sort_key(trial.value))
    if isnan(best.value):
        raise CofactorError(f"all {len(trials)} trials failed; the first error was: {best.error}")
    return best


@dataclass(frozen=True)
class _Search:
    """Optuna study that runs one trial at a time."""

    space: dict[str, Range]
    metric: Metric
    seed: int
    study: Any

    def finished_trials(self) -> tuple[Trial, ...]:
        """Return the finished trials, excluding interrupted ones."""
        import optuna

        states = optuna.trial.TrialState
        trials = self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.FAIL))
        return tuple(
            Trial(
                number,
                dict(trial.params),
                nan if trial.state == states.FAIL else float(trial.value),
                trial.user_attrs["seconds"],
                trial.user_attrs.get("error"),
            )
            for number, trial in enumerate(trials)
        )

    @forward_optuna_logs()
    def suggest(self, number: int, estimator: Estimator) -> dict[str, float]:
        """Suggest hyperparameter values for trial `number`, which depend only on earlier trials.

        Each trial has its own sampler, seeded with the trial number, so that a resumed search draws the same values.
        """
        current_values = {name: getattr(estimator, name) for name in self.space}
        if number == 0 and all(self.space[name].contains(value) for name, value in current_values.items()):
            return current_values
        import optuna

        draw_seed = int(random_stream(self.seed, "tune", number).integers(2**31))
        study = optuna.create_study(
            direction=_direction(self.metric), sampler=optuna.samplers.TPESampler(seed=draw_seed)
        )  # fmt: skip
        study.add_trials(self.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
        trial = study.ask(fixed_distributions=self._distributions())
        return {name: self.space[name].rounded(value) for name, value in trial.params.items()}

    @forward_optuna_logs()
    def record(self, trial: Trial) -> None:
        """Add a finished trial to the study."""
        import optuna

        states = optuna.trial.TrialState
        attributes = {"seconds": trial.seconds} | ({} if trial.error is None else {"error": trial.error})
        self.study.add_trial(
            optuna.trial.create_trial(
                params=trial.settings,
                distributions=self._distributions(),
                value=None if trial.error is not None else trial.value,
                state=states.FAIL if trial.error is not None else states.COMPLETE,
                user_attrs=attributes,
            )
        )

    def _distributions(self) -> dict[str, Any]:
        """Return the ranges as Optuna distributions."""
        from optuna.distributions import FloatDistribution, IntDistribution

        return {
            name: IntDistribution(int(limits.low), int(limits.high), log=limits.log)
            if limits.is_integer
            else FloatDistribution(limits.low, limits.high, log=limits.log)
            for name, limits in self.space.items()
        }


def _direction(metric: Metric) -> Literal["minimize", "maximize"]:
    """Return the Optuna name for the direction in which a metric improves."""
    return "maximize" if metric.greater_is_better else "minimize"


@forward_optuna_logs()
def _study(storage: str | Path | None, name: str, metric: Metric) -> Any:
    """Open or create the study for a search; raise MissingExtraError if Optuna is not installed."""
    try:
        import optuna
    except ImportError as missing:
        raise MissingExtraError(
            'tuning needs optuna, which is not installed: pip install "cofactor[tune]"'
        ) from missing
    url = None if storage is None else f"sqlite:///{_storage_file(Path(storage))}"
    return optuna.create_study(storage=url, study_name=name, direction=_direction(metric), load_if_exists=True)


@contextmanager
def _storage_errors(storage: str | Path | None) -> Iterator[None]:
    """Convert Optuna errors caused by a full disk, a corrupt file or an incompatible database to DataError."""
    try:
        yield
    except CofactorError:
        raise
    except Exception as problem:
        if storage is None:
            raise
        reason = next((cause for cause in _causes(problem) if isinstance(cause, sqlite3.Error)), problem)
        line = str(reason).strip().partition("\n")[0]
        raise DataError(f"storage {storage} cannot be used: {line}; choose another file") from problem


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its chain of causes."""
    while error is not None:
        yield error
        error = error.__cause__


def _storage_file(path: Path) -> Path:
    """Return the absolute path of a storage file; raise ParameterError if it cannot be used."""
    if "?" in str(path.absolute()):  # SQLAlchemy would read the rest as options of the URL
        raise ParameterError(f"storage {path} cannot be used: the path contains a question mark; choose another path")
    if path.is_dir():
        raise ParameterError(f"storage {path} is a folder; choose a file in it")
    if not path.absolute().parent.is_dir():
        raise ParameterError(f"the folder {path.parent} for storage does not exist; create it first")
    if path.exists():
        with path.open("rb") as file:
            signature = file.read(len(SQLITE_HEADER))
        if signature not in (b"", SQLITE_HEADER):
            raise ParameterError(f"storage {path} is not a SQLite file; choose a SQLite file or a new path")
    return path.absolute()
