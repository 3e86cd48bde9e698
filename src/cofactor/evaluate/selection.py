"""Automatic selection: choose an estimator and its hyperparameters on held-out rows, within a time or trial budget.

    1. Split off a tenth of each user's rows: the latest ones if times order them, otherwise random ones.
    2. Fit the defaults of the candidates that suit the table, in the order of `evaluate.candidates`.
    3. Successive halving: keep the better half of the candidates, but at least four for a blend, and try new
       hyperparameters for each of them. The number of trials per candidate doubles in each round. The best trial of a
       candidate replaces its defaults only if it is better by more than a standard error.
    4. Blend the best models of the best candidates, and keep the blend if it is better than the best of them
       by more than a standard error.
    5. Fit the chosen estimator to all rows.

With a budget in seconds, the fit time of a candidate is predicted from a fit to a sample of users and then from its
trials, and no fit starts that would not end in time; the time of the last step is reserved. With a budget in trials,
the result depends on the seed alone.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cofactor import checks
from cofactor.arrays import random_stream
from cofactor.checks import Seed
from cofactor.data.held_out import hold_out, is_ordered
from cofactor.data.interactions import Interactions, Kind, relevant_rows
from cofactor.data.readers.frame_table import ArrowFrame
from cofactor.data.readers.read import read_ratings
from cofactor.errors import DivergedError, KindError, MissingExtraError, ParameterError
from cofactor.estimators.base import Estimator
from cofactor.estimators.blend import Blend, blend_weights, blended
from cofactor.estimators.paired import PairedModels
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import TableLike, as_interactions
from cofactor.evaluate.candidates import Candidate, candidates_for
from cofactor.evaluate.evaluation import primary_values
from cofactor.evaluate.search_space import Range, search_space
from cofactor.evaluate.split import Split
from cofactor.metrics.base import Metric, UserValues
from cofactor.metrics.registry import primary_metric
from cofactor.recommender.recommender import Recommender
from cofactor.recommender.updating import model_histories
from cofactor.results import SelectionTrial
from cofactor.validation import validated

__all__ = ["Goal", "Selection", "choose", "fit", "select"]

_log = logging.getLogger("cofactor")

Goal = Literal["recommend", "predict"]
TrialCallback = Callable[[SelectionTrial], None]

SHARE = 0.1
"""Share of each user's rows that are held out.

The best hyperparameters depend on the number of training rows: on liked ratings of MovieLens-100k, a fifth of the rows
selects weights of blanks whose NDCG@10 is .02 lower than the default after a fit to all rows.
"""

SAMPLE_ROWS = 8
"""The first fit of a candidate uses the users of about one row in `SAMPLE_ROWS`."""

WARM_UP_ROWS = 500
"""Approximate number of rows of a fit that only compiles kernels and imports libraries."""

BUDGET_FRACTION = 0.92
"""Share of the budget that is allocated; the rest covers errors in the predicted times."""

BLEND_ARMS = 4
"""A blend consists of the best model of each of a few candidates."""

BLEND_SECONDS, BLEND_EVALUATIONS = 1.0, 3
"""Approximate time, and number of evaluations of each component model, for choosing the weights of a blend."""

MAX_RESERVED = 0.4
"""Maximum share of the budget that is reserved for the final fit of a blend."""

MAX_DEFAULTS = 0.5
"""If less than this share of the budget is left, the defaults of further candidates are not tried."""

MIN_WIDTH_SECONDS = 250
"""Minimum time budget for a search over the number of factors: kernels are compiled for each number, in about 10 s."""

MAX_TRIALS = 100
"""Maximum number of trials with a time budget."""

LOCAL_STEP = 0.12
"""Standard deviation of a step from the best hyperparameters, relative to the width of the search range."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Estimator that was chosen for a table, with all trials; returned by `select`.

    Attributes
    ----------
    estimator : Estimator
        Chosen estimator, not fitted.
    trials : tuple of SelectionTrial
        All trials in order; exactly one of them is chosen.
    description : str
        How the rows were held out.
    fit_seconds : float
        Predicted time of a fit to all rows.
    """

    estimator: Estimator
    trials: tuple[SelectionTrial, ...]
    description: str
    fit_seconds: float


@validated
def fit(
    interactions: TableLike,
    *,
    goal: Goal = "recommend",
    budget: float = 60.0,
    trials: int | None = None,
    min_rating: float | None = None,
    seed: Seed = 0,
    k: int = 10,
    on_trial: TrialCallback | None = None,
    callback: EpochCallback | None = None,
) -> Recommender:
    """Choose an estimator and its hyperparameters for a table, and fit it.

    Parameters
    ----------
    interactions : Interactions or CSR matrix of shape (n_users, n_items)
        Table of ratings or events.
    goal : {"recommend", "predict"}, default "recommend"
        Whether to choose by ranked lists (NDCG), or by predicted ratings (RMSE). To recommend from a table of ratings,
        two models are chosen, a ranker trained on the liked ratings and a rating model, and fitted as `PairedModels`.
    budget : float, default 60.0
        Time budget in seconds, including the final fit; ignored if `trials` is given.
    trials : int, optional
        Number of trials for each model instead of a time budget, so that the result depends on the seed alone.
    min_rating : float, optional
        Lowest rating that counts as liked, if a ranker is chosen for a table of ratings; as in `PairedModels`.
    seed : int, Generator or None, default 0
        Seed for the held-out rows, the hyperparameters that are tried, and all fits.
    k : int, default 10
        Length of the ranked lists.
    on_trial : callable, optional
        Called with each `SelectionTrial` after it finishes.
    callback : callable, optional
        Called with an `Epoch` after each epoch of the final fit.

    Returns
    -------
    Recommender
        Fitted recommender; its attribute `trials` contains all trials.

    Raises
    ------
    KindError
        If ratings are to be predicted from a table of events.
    DataError
        If the table has no rows or all weights are 0.
    ParameterError
        If an argument is invalid.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = fit(ratings, goal="predict", trials=3)
    >>> [trial.estimator for trial in rec.trials][:3]
    ['bias', 'explicit-als', 'item-knn']
    """
    table, seed = require_table(interactions), checks.seed(seed)
    estimator, all_trials = choose(
        table, goal=goal, budget=budget, trials=trials, min_rating=min_rating, seed=seed, k=k, on_trial=on_trial
    )
    recommender = Recommender.fit(estimator, table, seed=seed, callback=callback)
    return replace(recommender, trials=all_trials)


@validated
def choose(
    interactions: Interactions,
    *,
    goal: Goal = "recommend",
    budget: float = 60.0,
    trials: int | None = None,
    min_rating: float | None = None,
    seed: Seed = 0,
    k: int = 10,
    on_trial: TrialCallback | None = None,
) -> tuple[Estimator, tuple[SelectionTrial, ...]]:
    """Choose an estimator and its hyperparameters for a table, but do not fit it to all rows; see `fit`.

    Parameters
    ----------
    interactions : Interactions
        Table of ratings or events.
    goal : {"recommend", "predict"}, default "recommend"
        As in `fit`.
    budget : float, default 60.0
        Time budget in seconds, including the predicted time of a fit to all rows; ignored if `trials` is given.
    trials : int, optional
        Number of trials for each model instead of a time budget.
    min_rating : float, optional
        As in `fit`.
    seed : int, Generator or None, default 0
        Seed for the held-out rows, the hyperparameters that are tried, and the fits.
    k : int, default 10
        Length of the ranked lists.
    on_trial : callable, optional
        Called with each `SelectionTrial` after it finishes.

    Returns
    -------
    estimator : Estimator
        Chosen estimator, not fitted.
    trials : tuple of SelectionTrial
        All trials.

    Raises
    ------
    KindError
        If ratings are to be predicted from a table of events.
    DataError
        If the table has no rows or all weights are 0.
    ParameterError
        If an argument is invalid.

    Examples
    --------
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> choose(ratings, goal="predict", trials=2)[0].kind
    'ratings'
    """
    if goal == "predict" and interactions.kind == "events":
        raise KindError("goal 'predict' requires ratings, but the table contains events; use goal 'recommend'")
    start, budget = time.perf_counter(), checks.finite_number("budget", budget, low=0)
    options: dict[str, Any] = {"trials": trials, "seed": checks.seed(seed), "k": k, "on_trial": on_trial}
    if interactions.kind == "events" or goal == "predict":
        selection = select(interactions, budget=budget, start=start, **options)
        return selection.estimator, selection.trials
    _, liked = PairedModels(min_rating=min_rating).ranking_part(interactions)
    ranker = select(liked, budget=budget / 2, start=start, **options)
    seconds = time.perf_counter() - start + ranker.fit_seconds / BUDGET_FRACTION
    rating_model = select(interactions, budget=max(budget - seconds, 0.0), **options)
    estimator = PairedModels(ranker.estimator, rating_model.estimator, min_rating)
    return estimator, ranker.trials + rating_model.trials


@validated
def select(
    interactions: Interactions,
    *,
    budget: float = 60.0,
    trials: int | None = None,
    seed: Seed = 0,
    k: int = 10,
    on_trial: TrialCallback | None = None,
    start: float | None = None,
) -> Selection:
    """Choose an estimator and its hyperparameters for a table; see the module docstring.

    Parameters
    ----------
    interactions : Interactions
        Table; ratings are judged by the RMSE, and events by NDCG@k.
    budget : float, default 60.0
        Time budget in seconds, including a final fit of the chosen estimator; ignored if `trials` is given.
    trials : int, optional
        Number of trials instead of a time budget.
    seed : int, Generator or None, default 0
        Seed for the held-out rows, the hyperparameters that are tried, and the fits.
    k : int, default 10
        Length of the ranked lists.
    on_trial : callable, optional
        Called with each `SelectionTrial` after it finishes.
    start : float, optional
        Value of `time.perf_counter` at which the budget begins; now by default.

    Returns
    -------
    Selection
        Chosen estimator and all trials.

    Raises
    ------
    DataError
        If the table has no rows or all weights are 0, or no candidate can be fitted.
    ParameterError
        If an argument is invalid.

    Examples
    --------
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> selection = select(ratings, trials=2)
    >>> [trial.estimator for trial in selection.trials][:2]
    ['bias', 'explicit-als']
    """
    checks.optional_callable("on_trial", on_trial)
    trials = None if trials is None else checks.whole_number("trials", trials, low=1)
    start_time = time.perf_counter() if start is None else start
    deadline = (
        math.inf if trials is not None else start_time + BUDGET_FRACTION * checks.finite_number("budget", budget, low=0)
    )
    k = checks.whole_number("k", k, low=1, high=checks.MAX_LIST_LENGTH)
    table = candidates_for(interactions)[0][1].check_table(interactions)
    return _Selector(table, deadline, trials or MAX_TRIALS, checks.seed(seed), k, on_trial).run()


def require_table(interactions: TableLike | ArrowFrame) -> Interactions:
    """Return a table of ratings or events from any accepted type; a frame with a column of ratings contains ratings.

    Parameters
    ----------
    interactions : Interactions, data frame or CSR matrix
        Argument of `fit`.

    Returns
    -------
    Interactions
        The table.
    """
    if isinstance(interactions, ArrowFrame):
        return read_ratings(interactions)
    return as_interactions("interactions", interactions, "ratings")


@dataclass(eq=False)
class _Result:
    """A scored trial: its candidate, number, estimator, model and per-user values."""

    arm: _Arm
    number: int
    estimator: Estimator
    recommender: Recommender
    values: UserValues
    value: float


@dataclass(eq=False)
class _Arm:
    """A candidate with its predicted time, and the results of its best trial and of its defaults.

    seconds is the predicted time of a fit of `measured` to the training rows and of its evaluation, and fit_seconds
    that of the fit alone; nan if unknown.
    """

    candidate: Candidate
    default: Estimator
    space: dict[str, Range]
    measured: Estimator
    seconds: float = math.nan
    fit_seconds: float = math.nan
    n_trials: int = 0
    best: _Result | None = None
    default_result: _Result | None = None

    @classmethod
    def of(cls, candidate: Candidate, default: Estimator, *, kind: Kind, searches_width: bool) -> _Arm:
        """Create an arm; unless the number of factors is searched, trials do not compile kernels."""
        try:
            space = search_space(default, kind=kind)
        except ParameterError:  # nothing to search
            space = {}
        if not searches_width:
            space.pop("factors", None)
        return cls(candidate, default, space, default)

    def predicted_seconds(self, estimator: Estimator) -> tuple[float, float]:
        """Return the predicted time of a trial, and of its fit alone."""
        ratio = _relative_cost(estimator) / _relative_cost(self.measured)
        return self.seconds + (ratio - 1) * self.fit_seconds, ratio * self.fit_seconds


class _Selector:
    """State of a selection: the split, the completed trials and the remaining time."""

    def __init__(
        self,
        table: Interactions,
        deadline: float,
        max_trials: int,
        seed: int,
        k: int,
        on_trial: TrialCallback | None,
    ):
        self.table, self.deadline, self.max_trials = table, deadline, max_trials
        self.seconds = deadline - time.perf_counter()
        self.seed, self.k, self.on_trial = seed, k, on_trial
        self.metric: Metric = primary_metric(table.kind, k)
        self.split = validation_split(table, seed=seed)
        self.trials: list[SelectionTrial] = []
        searches_width = math.inf > self.seconds > MIN_WIDTH_SECONDS
        self.arms = [_Arm.of(*pair, kind=table.kind, searches_width=searches_width) for pair in candidates_for(table)]

    @property
    def is_timed(self) -> bool:
        """Whether the budget is a time limit instead of a number of trials."""
        return self.deadline < math.inf

    def run(self) -> Selection:
        """Run all trials, and return the selection."""
        if self.split is None:
            return self._choose_fastest("no rows can be held out")
        for arm in self.arms:
            if self.is_timed and not self._has_time(MAX_DEFAULTS * self.seconds, 0):
                self._record(arm.default, math.nan, 0.0, "not tried: too little time left")
                continue
            if self.is_timed:
                self._measure(arm)
            self._run_trial(arm, arm.default)
        self._search()
        self._drop_uncertain_gains()
        scored = [arm for arm in self.arms if arm.best is not None]
        if not scored:
            return self._choose_fastest("no fit was scored")
        return self._blend(self._ranked_arms(scored)) or self._choose_best(scored)

    def _drop_uncertain_gains(self) -> None:
        """Keep one result of each candidate: the best one if it is clearly better than the defaults."""
        for arm in self.arms:
            if arm.best is not None and (default := arm.default_result) is not None:
                arm.best = arm.best if self._is_clear_gain(arm.best.values, default.values) else default

    def _is_clear_gain(self, values: UserValues, reference: UserValues) -> bool:
        """Return whether the gain in the metric over a reference exceeds its standard error."""
        sign = 1 if self.metric.greater_is_better else -1
        return bool(sign * (values.aggregate() - reference.aggregate()) > values.standard_error(reference))

    def _choose_fastest(self, note: str) -> Selection:
        """Choose the candidate with the shortest predicted time, without comparing models."""
        arm = min(self.arms, key=lambda arm: arm.seconds if math.isfinite(arm.seconds) else math.inf)
        self._record(arm.default, math.nan, 0.0, note, chosen=True)
        return Selection(arm.default, tuple(self.trials), "none", 0.0)

    def _choose_best(self, scored: list[_Arm]) -> Selection:
        """Choose the best single estimator."""
        arm = self._ranked_arms(scored)[0]
        assert arm.best is not None
        assert self.split is not None
        number = arm.best.number
        self.trials[number] = replace(self.trials[number], chosen=True)
        return Selection(arm.best.estimator, tuple(self.trials), self.split.description, self._final_seconds(arm))

    def _ranked_arms(self, arms: list[_Arm]) -> list[_Arm]:
        """Return the arms with a result, best first."""
        return sorted(
            (arm for arm in arms if arm.best is not None),
            key=lambda arm: self.metric.sort_key(arm.best.value if arm.best is not None else math.nan),
        )

    # Time

    def _measure(self, arm: _Arm) -> None:
        """Predict the time of a fit from that of a fit to a sample of users, after the kernels have been compiled."""
        assert self.split is not None
        train = self.split.train
        for rows in (WARM_UP_ROWS, max(len(train) // SAMPLE_ROWS, WARM_UP_ROWS)):
            sample = sample_of_users(train, rows, seed=self.seed)
            start = time.perf_counter()
            try:
                arm.default.fit(sample, seed=self.seed)
            except (DivergedError, MissingExtraError) as error:
                _log.debug("%s: %s", arm.default.name, error)
                return
            seconds = time.perf_counter() - start
            if start + seconds > self.deadline:
                return
        ratio = arm.candidate.cost(train) / max(arm.candidate.cost(sample), 1)
        arm.seconds = arm.fit_seconds = seconds * ratio

    def _final_seconds(self, arm: _Arm, estimator: Estimator | None = None) -> float:
        """Return the predicted time of fitting to all rows."""
        assert self.split is not None
        if math.isnan(arm.fit_seconds):
            return 0.0
        used = estimator or (arm.best.estimator if arm.best is not None else arm.default)
        return (
            arm.predicted_seconds(used)[1]
            * arm.candidate.cost(self.table)
            / max(arm.candidate.cost(self.split.train), 1)
        )

    def _refit_seconds(self, result: _Result) -> float:
        """Return the predicted time of fitting a result's estimator to all rows."""
        return self._final_seconds(result.arm, result.estimator)

    def _blend_seconds(self, results: list[_Result]) -> float:
        """Return the predicted time of choosing the weights of a blend and evaluating it."""
        evaluations = sum(result.arm.seconds - result.arm.fit_seconds for result in results)
        return BLEND_SECONDS + BLEND_EVALUATIONS * (0 if math.isnan(evaluations) else evaluations)

    def _reserved_seconds(self) -> float:
        """Return the time that is reserved for a blend of the best models, or at least for the best model alone."""
        arms = self._ranked_arms(self.arms)
        best = [arm.best for arm in arms[:BLEND_ARMS] if arm.best is not None]
        blend = self._blend_seconds(best) + sum(map(self._refit_seconds, best))
        return min(blend, max([MAX_RESERVED * self.seconds, *map(self._final_seconds, arms[:1])]))

    def _has_time(self, seconds: float, final_seconds: float) -> bool:
        """Return whether a trial and the subsequent final fit will finish in time."""
        return time.perf_counter() + seconds + final_seconds <= self.deadline

    # Trials

    def _run_trial(self, arm: _Arm, estimator: Estimator) -> bool:
        """Fit and score an estimator on the split; return False if the remaining budget is too small for a trial."""
        assert self.split is not None
        if sum(trial.value is not None for trial in self.trials) >= self.max_trials:
            return False
        if self.is_timed:
            seconds = arm.predicted_seconds(estimator)[0]
            final = max(self._final_seconds(arm, estimator), self._reserved_seconds())
            if math.isfinite(seconds) and not self._has_time(seconds, final):
                if arm.n_trials == 0:
                    self._record(estimator, math.nan, 0.0, f"not tried: it takes about {seconds:.0f} s")
                    arm.n_trials = 1
                return False
        start, arm.n_trials = time.perf_counter(), arm.n_trials + 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                recommender = Recommender.fit(estimator, self.split.train, seed=self.seed)
            fit_seconds = time.perf_counter() - start
            values = primary_values(recommender, self.split, k=self.k)
        except (DivergedError, MissingExtraError) as error:
            self._record(estimator, math.nan, time.perf_counter() - start, str(error))
            return True
        value, seconds = values.aggregate(), time.perf_counter() - start
        if _relative_cost(estimator) == _relative_cost(arm.default):
            arm.measured, arm.seconds, arm.fit_seconds = estimator, seconds, fit_seconds
        self._record(estimator, value, seconds)
        if not math.isnan(value):
            result = _Result(arm, len(self.trials) - 1, estimator, recommender, values, value)
            arm.default_result = result if estimator is arm.default else arm.default_result
            if arm.best is None or self.metric.sort_key(value) < self.metric.sort_key(arm.best.value):
                arm.best = result
        return True

    def _record(
        self, estimator: Estimator, value: float, seconds: float, note: str | None = None, *, chosen: bool = False
    ) -> None:
        """Append a trial and report it."""
        defaults = type(estimator)().to_dict()
        settings = {name: setting for name, setting in estimator.to_dict().items() if setting != defaults[name]}
        score = None if math.isnan(value) else value
        self.trials.append(SelectionTrial(estimator.name, settings, self.metric.key, score, seconds, chosen, note))
        if self.on_trial is not None:
            self.on_trial(self.trials[-1])

    def _search(self) -> None:
        """Try new hyperparameters for the better half of the candidates until the budget is used up."""
        arms, n_trials, has_progress = self._ranked_arms(self.arms), 1, True
        while has_progress:
            arms = self._ranked_arms(arms)[: max(math.ceil(len(arms) / 2), BLEND_ARMS)]
            n_trials, has_progress = 2 * n_trials, False
            for _ in range(n_trials):
                for arm in arms:
                    has_progress |= bool(arm.space) and self._run_trial(arm, self._suggest(arm))

    def _suggest(self, arm: _Arm) -> Estimator:
        """Draw hyperparameters: perturb some of the best ones so far or, in one draw of four, redraw all of them."""
        assert arm.best is not None
        stream = random_stream(self.seed, "selection", arm.candidate.name, arm.n_trials)
        is_local = arm.n_trials % 4 != 0
        changed = stream.random(len(arm.space)) < 0.5
        changed[stream.integers(len(changed))] = True
        settings: dict[str, float] = {}
        for (name, bounds), is_changed in zip(arm.space.items(), changed, strict=True):
            current = min(max(float(getattr(arm.best.estimator, name)), bounds.low), bounds.high)
            low, high, position = (math.log(b) if bounds.log else b for b in (bounds.low, bounds.high, current))
            step, uniform_draw = LOCAL_STEP * (high - low) * stream.normal(), stream.uniform(low, high)
            draw = min(max(position + step, low), high) if is_local else uniform_draw
            value = math.exp(draw) if bounds.log else draw
            if is_changed or not is_local:
                value = bounds.rounded(round(value) if bounds.is_integer else value)
                settings[name] = min(max(value, bounds.low), bounds.high)
        return arm.best.estimator.set_params(**settings)

    # Blend

    def _blend(self, ranked: list[_Arm]) -> Selection | None:
        """Blend the best models; return None unless the blend beats the best model by at least one standard error."""
        assert self.split is not None
        results = [arm.best for arm in ranked[:BLEND_ARMS] if arm.best is not None]
        while results and self.is_timed:
            if self._has_time(self._blend_seconds(results), sum(map(self._refit_seconds, results))):
                break
            results = results[:-1]
        if len(results) < 2:
            return None
        start, train = time.perf_counter(), self.split.train
        models = [result.recommender.model for result in results]
        weights = blend_weights(models, train, self.split.test, seed=self.seed)
        used = [n for n, weight in enumerate(weights) if weight > 0]
        if len(used) < 2:
            return None
        blend = Blend(tuple(results[n].estimator for n in used), tuple(weights[n] for n in used))
        model = blended(models, weights, train)
        recommender = replace(results[0].recommender, model=model, histories=model_histories(model, train))
        values = primary_values(recommender, self.split, k=self.k)
        reference = results[0].values
        gain, error = values.aggregate() - reference.aggregate(), values.standard_error(reference)
        is_better = self._is_clear_gain(values, reference)
        verb = "improves" if is_better else "does not clearly improve"
        note = (
            f"the blend {verb} {self.metric.title} by {gain:+.4f} (standard error {error:.4f}) compared "
            f"with {results[0].estimator.name}"
        )
        self._record(blend, values.aggregate(), time.perf_counter() - start, note, chosen=is_better)
        if not is_better:
            return None
        final = sum(self._refit_seconds(results[n]) for n in used)
        return Selection(blend, tuple(self.trials), self.split.description, final)


def validation_split(table: Interactions, *, seed: int) -> Split | None:
    """Hold out a tenth of each user's rows; return None if either part cannot be used.

    Parameters
    ----------
    table : Interactions
        Training table.
    seed : int
        Seed; see `data.held_out`.

    Returns
    -------
    Split or None
        Split with the held-out rows as its test set.
    """
    train, held_out = hold_out(table, share=SHARE, seed=seed)
    has_weight = train.weights is None or bool(train.weights.any())
    if not len(train) or not has_weight or not len(relevant_rows(held_out)):
        return None
    row_choice = "latest" if is_ordered(table) else "random"
    return Split(train, held_out, f"{row_choice} {SHARE:.0%} of each user's rows, seed {seed}")


def sample_of_users(table: Interactions, n_rows: int, *, seed: int) -> Interactions:
    """Return the rows of random users as a table without the IDs of the other users and items.

    Parameters
    ----------
    table : Interactions
        Table to sample from.
    n_rows : int
        Approximate number of rows.
    seed : int
        Seed for the choice of users.

    Returns
    -------
    Interactions
        Table with at least one row, whose IDs are row numbers of the original table.

    Examples
    --------
    >>> table = Interactions.from_columns([1, 1, 2, 3], [7, 8, 7, 9], [5, 4, 4, 2])
    >>> len(sample_of_users(table, 1, seed=0)) < 4
    True
    """
    users = random_stream(seed, "sample of users").permutation(np.flatnonzero(table.by_user.counts))
    n_users = int(np.searchsorted(np.cumsum(table.by_user.counts[users]), n_rows)) + 1
    rows = np.flatnonzero(np.isin(table.u, users[:n_users]))
    times, weights = (None if column is None else column[rows] for column in (table.times, table.weights))
    if weights is not None and not weights.any():
        weights = None
    return Interactions.from_columns(
        table.u[rows], table.i[rows], table.values[rows], times=times, weights=weights, kind=table.kind
    )


def _relative_cost(estimator: Estimator) -> float:
    """Return the product of the hyperparameters, which is proportional to the time of a fit."""
    return math.prod(float(getattr(estimator, name, 1) or 1) for name in ("factors", "epochs", "iterations", "hidden"))
