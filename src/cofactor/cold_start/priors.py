"""Learning priors: what new users and items are taken to be, from those that were trained and from their features.

The vectors x (factors and bias) of a side are regressed on the indicators of chosen columns:

    x_r = mean + E' h_r + rest,   minimizing  sum_r n_r / (n_r + HALF) |rest_r|^2 + ridge |E|^2,   rest ~ N(0, S)

and the prior of a newcomer with indicators h is N(mean + E' h, S), of precision P = strength noise S^-1 in units of the
loss. The ridge is chosen by how well vectors left out are told, the strength by how well ratings left out are told when
trained users (items) are folded in anew from a few of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, random_stream
from cofactor.data.features import Encoder
from cofactor.errors import KindError
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.losses import EventsLoss, PairwiseLoss, RatingsLoss
from cofactor.models.prior import Prior, Priors
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["eased_in", "learn_priors"]

Which: TypeAlias = Literal["user", "item"]

HALF = 5.0
"""With so many ratings a trained vector counts half."""
RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
PARTS = 5
"""Vectors are left out a fifth at a time."""
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
GIVEN = (1, 2, 4, 8, 16)
"""A trained user is folded in from one of these numbers of ratings, drawn anew for each."""
SAMPLE = 400
"""Of each side so many are folded in, at most, to choose the strength."""


@one_thread_blas()
@validated
def learn_priors(
    recommender: Recommender, *, user_features: Sequence[str] = (), item_features: Sequence[str] = (), seed: int = 0
) -> Recommender:
    """The same recommender, carrying what it takes new users and new items to be.

    user_features, item_features: columns of the user and item tables; see `data.features.Encoder`. Without, all new
    ones are taken to be alike: as the trained are on average. bpr has a prior of items only. Raises KindError for a
    model without vectors, DataError for columns that are not there.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900, genres=4)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> priors = cofactor.cold_start.learn_priors(rec, item_features=["genres"]).priors
    >>> priors.users.mean.shape, priors.items.effects.shape, priors.items.encoder.names[0]
    ((5,), (4, 5), 'genres=genre 0')
    """
    model = require_recommender("recommender", recommender).model
    user_features, item_features = (
        checks.names("user_features", user_features),
        checks.names("item_features", item_features),
    )
    checks.seed(seed)
    if not isinstance(model, FactorModel) or model.loss is None or not model.n_users or not model.n_items:
        raise KindError(
            "priors are of the vectors that biased-mf, explicit-als, implicit-als and bpr learn; bayesian-mf and "
            "neural-mf have priors of their own, and models of neighbors need none"
        )
    items = _Trained.of(recommender, "item", item_features).prior(seed)
    users = (
        None if isinstance(model.loss, PairwiseLoss) else _Trained.of(recommender, "user", user_features).prior(seed)
    )
    return replace(recommender, priors=Priors(users, items))


@validated
def eased_in(recommender: Recommender, *, seed: int = 0) -> Recommender:
    """With priors, those it has or new ones, where the model takes any; else as it is.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> rec = cofactor.Recommender.fit(cofactor.ItemKNN(), ratings)
    >>> cofactor.cold_start.eased_in(rec) is rec
    True
    """
    checks.seed(seed)
    if require_recommender("recommender", recommender).priors is not None:
        return recommender
    try:
        return learn_priors(recommender, seed=seed)
    except KindError:
        return recommender


@dataclass(frozen=True, eq=False)
class _Trained:
    """One side as it was trained.

    x (n, w): [factors, bias]    rows: a row for each, its columns are the other side's    indicators (n, m): 0 or 1
    """

    which: Which
    model: FactorModel
    x: Float64
    rows: SparseRows
    encoder: Encoder | None
    indicators: Float64

    @classmethod
    def of(cls, recommender: Recommender, which: Which, columns: Sequence[str]) -> _Trained:
        model, rows = recommender.model, recommender.histories
        parts = [getattr(model, f"{which}_factors"), getattr(model, f"{which}_bias")[:, None]]
        if isinstance(model.loss, EventsLoss) or (isinstance(model.loss, RatingsLoss) and model.loss.l2_bias is None):
            parts = parts[:1]
        if which == "item":
            rows = rows.transpose(model.n_items)
        x = np.hstack(parts).astype(np.float64)
        table: pl.DataFrame | None = getattr(recommender, f"{which}_table")
        encoder, indicators = None, np.zeros((len(x), 0))
        if columns:
            encoder = Encoder.of(table, columns, which)
            assert table is not None
            indicators = encoder.encode(table).dense(len(x))
        return cls(which, model, x, rows, encoder, indicators)

    def prior(self, seed: int) -> Prior:
        mean, effects = self._regressed(seed)
        rest = self.x - mean - self.indicators @ effects
        trust = self._trust
        S = (rest * trust[:, None]).T @ rest / max(trust.sum(), 1e-12)
        S += np.eye(len(S)) * max(1e-3 * float(np.trace(S)) / max(len(S), 1), 1e-9)
        precision = self._noise * np.linalg.inv(S)
        prior = Prior(mean, precision, effects, self.encoder)
        if isinstance(self.model.loss, PairwiseLoss):
            return prior
        losses = [self._left_out_loss(replace(prior, precision=s * precision), seed) for s in STRENGTHS]
        return replace(prior, precision=STRENGTHS[int(np.argmin(losses))] * precision)

    @property
    def _trust(self) -> Float64:
        counts = self.rows.counts.astype(np.float64)
        trust: Float64 = counts / (counts + HALF)
        return trust

    @property
    def _noise(self) -> float:
        """The mean squared error of what the model learnt from, in units of its loss."""
        if isinstance(self.model.loss, PairwiseLoss) or not len(self.rows.columns):
            return 1.0
        own = self.rows.owners
        u, i = (own, self.rows.columns) if self.which == "user" else (self.rows.columns, own)
        goal = self.rows.values if isinstance(self.model.loss, RatingsLoss) else (self.rows.values > 0)
        error = self.model.link(self.model.linear(u, i)).astype(np.float64) - goal
        return max(float(np.mean(error * error)), 1e-6)

    def _regressed(self, seed: int) -> tuple[Float64, Float64]:
        """The mean, and the effects at the ridge that tells vectors left out best."""
        trust, m = self._trust, self.indicators.shape[1]
        if m == 0 or trust.sum() == 0:
            mean: Float64 = self.x.T @ trust / max(trust.sum(), 1e-12)
            return mean, np.zeros((m, self.x.shape[1]))
        part = random_stream(seed, "parts", self.which).integers(PARTS, size=len(self.x))
        losses = np.zeros(len(RIDGES))
        for p in range(PARTS):
            out = part == p
            for r, (mean, effects) in enumerate(_ridges(self.x[~out], self.indicators[~out], trust[~out])):
                rest = self.x[out] - mean - self.indicators[out] @ effects
                losses[r] += float(trust[out] @ np.square(rest).sum(axis=1))
        return _ridges(self.x, self.indicators, trust)[int(losses.argmin())]

    def _left_out_loss(self, prior: Prior, seed: int) -> float:
        """How badly the ratings left out are told when some are folded in from a few of theirs."""
        stream = random_stream(seed, "left out", self.which)
        enough = np.flatnonzero(self.rows.counts >= 2)
        chosen = np.sort(stream.permutation(enough)[:SAMPLE])
        if len(chosen) == 0:
            return 0.0
        rows = self.rows.take(chosen)
        owner = rows.owners
        given = _drawn(rows, np.minimum(stream.choice(GIVEN, len(rows)), rows.counts // 2), stream)
        weights = None if rows.weights is None else rows.weights[given]
        few = SparseRows.of(owner[given], rows.columns[given], rows.values[given], len(rows), weights)
        means = prior.mean + self.indicators[chosen] @ prior.effects
        scores = self._scores(few, means, prior.precision)
        if isinstance(self.model.loss, RatingsLoss):
            error = self.model.link(scores[owner, rows.columns]).astype(np.float64) - rows.values
            return float(np.mean(np.square(error[~given])))
        return -float(np.mean([_found(scores[r], rows.row(r).columns, given[owner == r]) for r in range(len(rows))]))

    def _scores(self, few: SparseRows, means: Float64, precision: Float64) -> Float32:
        """x of each one folded in with everything on the other side: (n, n_other) float32."""
        model = self.model
        if self.which == "user":
            folded = model.fold_in(few, prior=GaussianPrior(means, precision))
            own, bias, other, other_bias = folded.user_factors, folded.user_bias, model.item_factors, model.item_bias
        else:
            own, bias = model.fold_in_items(few, GaussianPrior(means, precision))
            other, other_bias = model.user_factors, model.user_bias
        scores: Float32 = own @ other.T + bias[:, None] + other_bias + np.float32(model.mean)
        return scores


def _ridges(x: Float64, h: Float64, trust: Float64) -> list[tuple[Float64, Float64]]:
    """Mean and effects at each of RIDGES: weighted least squares, the mean not held back."""
    total = max(float(trust.sum()), 1e-12)
    x_mean, h_mean = trust @ x / total, trust @ h / total
    centered = h - h_mean
    size, axes = np.linalg.eigh((centered * trust[:, None]).T @ centered)
    goal = axes.T @ ((centered * trust[:, None]).T @ (x - x_mean))
    found = []
    for ridge in RIDGES:
        effects = axes @ (goal / (np.maximum(size, 0) + ridge)[:, None])
        found.append((x_mean - h_mean @ effects, effects))
    return found


def _drawn(rows: SparseRows, n: Int64, stream: np.random.Generator) -> Bool:
    """Which entries are among n[r] drawn of row r."""
    owner = rows.owners
    order = np.lexsort((stream.random(len(owner)), owner))
    place = np.empty(len(owner), np.int64)
    place[order] = np.arange(len(owner)) - np.repeat(rows.start[:-1], rows.counts)
    drawn: Bool = place < n[owner]
    return drawn


def _found(scores: Float32, has: Int32, given: Bool) -> float:
    """How far up the entries left out stand among all that is blank: mean of 1 / log2(1 + rank); a tie counts half."""
    blank = np.ones(len(scores), bool)
    blank[has] = False
    left, others = scores[has[~given]], np.sort(scores[blank])
    above = len(others) - (np.searchsorted(others, left, "left") + np.searchsorted(others, left, "right")) / 2
    return float(np.mean(1 / np.log2(2 + above)))
