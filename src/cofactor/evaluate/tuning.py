"""The settings that do best on a validation part, found by trying; the test part is scored once, at the end.

Tree-structured Parzen estimators (Bergstra et al. 2011, NeurIPS), as optuna makes them. optuna is imported when a
search begins: it is in the extra `tune`.
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
from cofactor.arrays import random_stream
from cofactor.data.interactions import Interactions
from cofactor.errors import CofactorError, DataError, DivergedError, MissingExtraError, ParameterError
from cofactor.estimators.base import Estimator
from cofactor.evaluate.evaluation import Score, figure, fit_and_score, is_better, main_metric
from cofactor.evaluate.search_space import Range, search_space
from cofactor.evaluate.split import Exclude, Split, require_split
from cofactor.evaluate.validation_split import inner_split
from cofactor.kernels.parallel import SharedLimit
from cofactor.recommender.recommender import Recommender

__all__ = ["Trial", "Tuned", "tune"]

SQLITE = b"SQLite format 3\0"


class _AsOurs(logging.Handler):
    """Hands records of optuna on to the logger "cofactor"; those below a warning with the level DEBUG."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno if record.levelno >= logging.WARNING else logging.DEBUG
        logging.getLogger("cofactor").log(level, "optuna: %s", record.getMessage())


def _redirect_optuna() -> Callable[[], None]:
    with suppress(ImportError):
        import optuna  # noqa: F401 - it sets its own handler when it is imported
    logger = logging.getLogger("optuna")
    handlers, propagate = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [_AsOurs()], False

    def restore() -> None:
        logger.handlers[:], logger.propagate = handlers, propagate

    return restore


optuna_logs_as_ours = SharedLimit(_redirect_optuna)
"""What optuna logs inside a `with` block goes to the logger "cofactor"; its own settings stay as they are."""


@dataclass(frozen=True)
class Trial:
    """One set of settings and how it did.

    Attributes:

        number: counted from 0; 0 are the settings that the search began with.
        settings: those that are searched.
        value: the main metric on the validation part; nan where the fit failed.
        seconds: fit and score, wall time.
        error: why it failed, else None.

    >>> Trial(0, {"l2": 0.05}, value=0.91, seconds=1.5).error is None
    True
    """

    number: int
    settings: dict[str, float]
    value: float
    seconds: float
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a search found; see `tune`, which makes it.

    Attributes:

        estimator: the best one, ready to be fitted.
        metric: "rmse" or "ndcg@k".
        validation: its value on the validation part.
        test: the score of the best, fitted on the whole training part, on the test part, which nothing else has seen.
        trials: all of them, in order.
        resumed: how many of them were there already.
        description: of the split.
        validation_description: of how the training part was parted.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> found = cofactor.evaluate.tune(cofactor.Bias(), cofactor.split_random(ratings), trials=2)
    >>> found.history.columns, found.estimator.name
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
        """One row per trial: trial, value, best (so far), seconds, error, then the settings searched.

        value and best are nan where the fit failed, and before anything succeeded.
        """
        best, rows = nan, []
        for trial in self.trials:
            best = trial.value if is_better(self.metric, trial.value, best) else best
            rows.append({"trial": trial.number, "value": trial.value, "best": best, "seconds": trial.seconds,
                         "error": trial.error, **trial.settings})  # fmt: skip
        return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col("error").cast(pl.String))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the best estimator, both figures and every trial; nan becomes None."""
        interval = self.test.metrics[self.metric]
        return {
            "split": self.description,
            "validation_split": self.validation_description,
            "metric": self.metric,
            "estimator": json.loads(self.estimator.to_json()),
            "validation": self.validation,
            "test": {part: None if isnan(x) else float(x) for part, x in interval._asdict().items()},
            "resumed": self.resumed,
            "trials": [
                {"trial": t.number, "value": None if isnan(t.value) else t.value, "seconds": t.seconds,
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
    seed: int = 0,
    exclude: Exclude = "seen",
    on_trial: Callable[[Trial], None] | None = None,
) -> Tuned:
    """Search the estimator's ranges (`evaluate.search_space`); settings named in `fixed` stay as they are.

    The first trial is the estimator as it was given. A share `validation` is cut out of the training part, in the way
    the test part was cut; trials are fitted on the rest of it. Deterministic in the seed. A fit that diverges is a
    failed trial, and the search goes on. `exclude`: see `evaluate`.

    storage: a SQLite file that keeps every trial. The same call with the same data goes on where it was interrupted, to
    the same end as without interruption, or adds trials up to `trials` in all; searches of other models, data or seeds
    can share the file.

    Raises MissingExtraError without optuna, ParameterError for arguments, KindError and DataError as a fit does,
    CofactorError where every trial failed.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> found = cofactor.evaluate.tune(cofactor.Bias(), cofactor.split_random(ratings), trials=3)
    >>> found.metric, len(found.trials), found.validation <= found.trials[0].value
    ('rmse', 3, True)
    """
    trials, k = (
        checks.whole_number("trials", trials, low=1),
        checks.whole_number("k", k, low=1, high=checks.LONGEST_LIST),
    )
    validation, seed = checks.share("validation", validation), checks.seed(seed)
    storage = None if storage is None else checks.path("storage", storage)
    checks.optional_callable("on_trial", on_trial)
    require_split("split", split)
    space = search_space(estimator, fixed=fixed)
    estimator.require(split.train)
    split.prove()
    split = split.excluding(exclude)
    inner, metric = inner_split(split, share=validation, seed=seed), main_metric(split.train.kind, k)
    question = [estimator.to_json(), sorted(space), inner.description, metric, seed, fingerprint(split.train)]
    with _usable(storage):
        search = _Search(space, metric, seed, _study(storage, f"{estimator.name}-{_digest(question)}", metric))
        done = search.finished()
    for number in range(len(done), trials):
        with _usable(storage):
            settings = search.suggestion(number, estimator)
        trial = _tried(number, estimator, settings, inner, k, seed)
        with _usable(storage):
            search.record(trial)
        if on_trial is not None:
            on_trial(trial)
    with _usable(storage):
        found = search.finished()
    best = _best(found, metric)
    chosen = estimator.with_settings(**best.settings)
    test = fit_and_score(chosen, split, label=estimator.name, ks=(k,), seed=seed)
    resumed = min(len(done), len(found))
    return Tuned(chosen, metric, best.value, test, found, resumed, split.description, inner.description)


def fingerprint(interactions: Interactions) -> str:
    """A short name of exactly these rows, 16 hexadecimal digits: the same for the same ids, values, times and weights.

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


def _digest(question: list[Any]) -> str:
    return hashlib.sha256(json.dumps(question).encode()).hexdigest()[:16]


def _tried(
    number: int, estimator: Estimator, settings: dict[str, float], inner: Split, k: int, seed: int
) -> Trial:  # fmt: skip
    began, value, error = time.perf_counter(), nan, None
    try:
        recommender = Recommender.fit(estimator.with_settings(**settings), inner.train, seed=seed)
        value = figure(recommender, inner, k=k)
    except DivergedError as problem:
        error = str(problem)
    if error is None and isnan(value):
        raise DataError(f"the validation part ({inner.description}) has no user to measure on: give it a larger share")
    return Trial(number, settings, value, time.perf_counter() - began, error)


def _best(trials: tuple[Trial, ...], metric: str) -> Trial:
    best = trials[0]
    for trial in trials:
        if is_better(metric, trial.value, best.value):
            best = trial
    if isnan(best.value):
        raise CofactorError(f"all {len(trials)} trials failed, the first one so: {best.error}")
    return best


@dataclass(frozen=True)
class _Search:
    """A study of optuna's, asked and told trial by trial."""

    space: dict[str, Range]
    metric: str
    seed: int
    study: Any

    def finished(self) -> tuple[Trial, ...]:
        """Trials that came to an end; one that was running when the process was killed is not among them."""
        import optuna

        states = optuna.trial.TrialState
        ended = self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.FAIL))
        return tuple(
            Trial(
                number,
                dict(one.params),
                nan if one.state == states.FAIL else float(one.value),
                one.user_attrs["seconds"],
                one.user_attrs.get("error"),
            )
            for number, one in enumerate(ended)
        )

    @optuna_logs_as_ours()
    def suggestion(self, number: int, estimator: Estimator) -> dict[str, float]:
        """The settings of trial `number`, which depend on the trials before and on nothing else.

        A sampler of its own for each, seeded by the number: an interrupted search draws what it would have drawn.
        """
        own = {name: getattr(estimator, name) for name in self.space}
        if number == 0 and all(self.space[name].holds(value) for name, value in own.items()):
            return own
        import optuna

        draw = int(random_stream(self.seed, "tune", number).integers(2**31))
        study = optuna.create_study(
            direction=_direction(self.metric), sampler=optuna.samplers.TPESampler(seed=draw)
        )  # fmt: skip
        study.add_trials(self.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
        asked = study.ask(fixed_distributions=self._distributions())
        return {name: self.space[name].rounded(value) for name, value in asked.params.items()}

    @optuna_logs_as_ours()
    def record(self, trial: Trial) -> None:
        import optuna

        states = optuna.trial.TrialState
        about = {"seconds": trial.seconds} | ({} if trial.error is None else {"error": trial.error})
        self.study.add_trial(
            optuna.trial.create_trial(
                params=trial.settings,
                distributions=self._distributions(),
                value=None if trial.error is not None else trial.value,
                state=states.FAIL if trial.error is not None else states.COMPLETE,
                user_attrs=about,
            )
        )

    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import FloatDistribution, IntDistribution

        return {
            name: IntDistribution(int(one.low), int(one.high), log=one.log)
            if one.whole
            else FloatDistribution(one.low, one.high, log=one.log)
            for name, one in self.space.items()
        }


def _direction(metric: str) -> Literal["minimize", "maximize"]:
    return "minimize" if metric == "rmse" else "maximize"


@optuna_logs_as_ours()
def _study(storage: str | Path | None, name: str, metric: str) -> Any:
    try:
        import optuna
    except ImportError as missing:
        raise MissingExtraError(
            'tuning needs optuna, which is not installed: pip install "cofactor[tune]"'
        ) from missing
    url = None if storage is None else f"sqlite:///{_storage_file(Path(storage))}"
    return optuna.create_study(storage=url, study_name=name, direction=_direction(metric), load_if_exists=True)


@contextmanager
def _usable(storage: str | Path | None) -> Iterator[None]:
    """Turn what optuna raises on a full disk, a damaged file or a foreign database into DataError."""
    try:
        yield
    except CofactorError:
        raise
    except Exception as problem:
        if storage is None:
            raise
        reason = next((cause for cause in _causes(problem) if isinstance(cause, sqlite3.Error)), problem)
        line = str(reason).strip().partition("\n")[0]
        raise DataError(f"the file of trials {storage} cannot be used: {line}; name another one") from problem


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    """The exception, its cause, the cause of that, and so on."""
    while problem is not None:
        yield problem
        problem = problem.__cause__


def _storage_file(path: Path) -> Path:
    """The file, if a search can be kept in it. Raises ParameterError."""
    if "?" in str(path.absolute()):  # the rest would be options in the URL of the database
        raise ParameterError(f"{path} cannot be a file of trials: its path has a question mark")
    if path.is_dir():
        raise ParameterError(f"{path} is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise ParameterError(f"the folder {path.parent} does not exist; make it first")
    if path.exists():
        with path.open("rb") as file:
            head = file.read(len(SQLITE))
        if head not in (b"", SQLITE):
            raise ParameterError(f"{path} is not a file of trials (SQLite); name another one, or a new one")
    return path.absolute()
