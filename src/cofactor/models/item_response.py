"""Response of items to a change in the history of one user, as in a refit of the model.

If a row of a user's history is removed and the model is refitted, the user's vector changes, and the vectors of the
items in the history follow it. Fixed items, as in fold-in, resist the change too much, above all items with few raters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from cofactor.arrays import Float64, Int32, Int64
from cofactor.kernels.sparse import SparseRows

if TYPE_CHECKING:
    from cofactor.models.factor import FactorModel

__all__ = ["ItemResponse"]

MAX_VALUES = 2**21
"""Maximum number of values in the matrices that are solved at once."""


@dataclass(frozen=True, eq=False)
class ItemResponse:
    """Removal effects for users of a linear factor model, including the changes of the item vectors in a refit.

    Parameters
    ----------
    model : FactorModel
        Model that was fitted by least squares, without a sigmoid.
    axes : ndarray of shape (width, width), float64
        Shared axes V of the items; width is the number of factors, plus one if the model has biases.
    eigenvalues : ndarray of shape (width,), float64
        Curvature of the loss of an item along each axis, per unit of support.
    unit : float
        Support that a pair of confidence 1 adds to its item.
    support : ndarray of shape (n_items,), float64
        Support of each item.
    penalty : ndarray of shape (n_items, width), float64
        Curvature of the penalty of each item along each axis.

    Notes
    -----
    With the vectors x of the user and z_k of the items as unknowns, the loss is minimized again without row j. Items
    are eliminated from the normal equations, which leaves (Schur complement)::

        S dx = -grad,    S = H - sum_k B_k A_k^-1 B_k'

    H and grad belong to the loss of the user without row j, A_k is the curvature of the loss of item k, and B_k the
    mixed second derivative for the user and item k. Vectors of other users are held fixed. A_k is approximated by
    support_k C + penalty_k D, where C is the second moment of the users' features, and D the penalty per unit. The axes
    solve the generalized eigenvalue problem of C and D, so that one decomposition serves all items.

    References
    ----------
    P. W. Koh, P. Liang. Understanding black-box predictions via influence functions. ICML 2017 (section 2.1), for the
    effect of removing a training point; here the second derivatives of one user and of the items are used.
    """

    model: FactorModel
    axes: Float64
    eigenvalues: Float64
    unit: float
    support: Float64
    penalty: Float64

    @classmethod
    def of(cls, model: object, histories: SparseRows) -> Self | None:
        """Prepare the response for a model and the histories that it was fitted to.

        Parameters
        ----------
        model : Model
            Any model.
        histories : SparseRows
            One row for each user of the model.

        Returns
        -------
        ItemResponse or None
            None if the model is not a linear factor model that was fitted by least squares.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5.0, 3.0, 4.0, 1.0])
        >>> ItemResponse.of(cofactor.Bias().fit(ratings), ratings.by_user).support.tolist()
        [2.0, 2.0]
        >>> ItemResponse.of(cofactor.ItemKNN().fit(ratings), ratings.by_user) is None
        True
        """
        from cofactor.models.factor import FactorModel

        if not isinstance(model, FactorModel) or model.rating_range is not None or model.loss is None:
            return None
        loss = model.loss.least_squares
        if loss is None or len(histories) != model.n_users:
            return None
        entries, width = loss.entries(histories), loss.n_unknowns(model.factors)
        inputs = loss.ridge_inputs(model.user_factors, model.user_bias, model.mean)
        features = inputs.features[:, :width].astype(np.float64)
        confidence = model.item_inputs.targets(entries)[0].astype(np.float64)
        support = np.bincount(entries.columns, confidence, model.n_items).astype(np.float64)
        by_user = np.bincount(entries.owners, confidence, model.n_users)
        total = max(float(by_user.sum()), 1e-12)
        second_moment = (features * by_user[:, None]).T @ features / total
        unit = 1.0
        if inputs.gram.size:  # the axes of all users, with and without an event
            gram = inputs.gram[:width, :width].astype(np.float64)
            unit = float(np.trace(second_moment)) / max(float(np.trace(gram)), 1e-12)
            second_moment, support = gram, 1 + unit * support
        shape = np.maximum(inputs.shape[:width].astype(np.float64), 1e-12)
        eigenvalues, axes = np.linalg.eigh(second_moment / np.sqrt(np.outer(shape, shape)))
        axes /= np.sqrt(shape)[:, None]
        counts = np.bincount(entries.columns, minlength=model.n_items)
        penalty = loss.penalty(counts, model.n_users).astype(np.float64)
        damping = ((axes**2) * inputs.precision[:width, None]).sum(axis=0)
        return cls(model, axes, np.maximum(eigenvalues, 0), unit, support, np.add.outer(penalty, damping))

    def is_trained(self, user: int) -> bool:
        """Return whether the items were fitted to a user's history; False for a user who was folded in afterwards.

        Parameters
        ----------
        user : int
            Row number of a user.

        Returns
        -------
        bool
        """
        untrained = self.model.untrained_users
        return untrained is None or not untrained[user]

    def removal_effects(self, user: int, items: Int32, history: SparseRows) -> Float64:
        """Compute the effects of removing each row of a user's history on the scores of some items.

        Parameters
        ----------
        user : int
            Row number of a user of the training.
        items : ndarray of shape (n_items,), int32
            Item row numbers.
        history : SparseRows
            The user's history in the training, as a single row with at least two entries.

        Returns
        -------
        ndarray of shape (n_items, m), float64
            Score with all rows, minus the score without one row.
        """
        regression = _Regression.of(self.model, user, history)
        m, size = len(regression.columns), max(MAX_VALUES // len(self.axes) ** 2, 1)
        blocks = [np.arange(first, min(first + size, m)) for first in range(0, m, size)]
        eliminated = np.sum([self._eliminated(regression, block).sum(axis=0) for block in blocks], axis=0)
        steps = np.concatenate([self._user_changes(regression, block, eliminated) for block in blocks])
        entries = {int(item): entry for entry, item in enumerate(regression.columns)}
        effects = np.zeros((len(items), m))
        for row, item in enumerate(items.tolist()):
            entry = entries.get(item)
            effects[row] = -steps @ self._score_gradient(regression, item, entry)
            if entry is not None:
                effects[row, entry] = self._own_effect(regression, entry, steps[entry])
        return effects

    def _eliminated(self, regression: _Regression, entries: Int64) -> Float64:
        """Return B A^-1 B' for the items of some entries: (n_entries, width, width)."""
        f, confidence = regression.features[entries], regression.confidence[entries]
        a, b = confidence + regression.blank_weight, regression.slopes[entries]
        curvature, h, v = self._responses(regression, regression.columns[entries], confidence, a)
        v = v * regression.is_factor
        axes = self.axes * regression.is_factor[:, None]
        mixed = (a * b)[:, None, None] * f[:, :, None] * v[:, None, :]
        eliminated: Float64 = (
            (a**2 * h)[:, None, None] * f[:, :, None] * f[:, None, :]
            + mixed
            + mixed.transpose(0, 2, 1)
            + (axes * (b[:, None] ** 2 / curvature)[:, None, :]) @ axes.T
            - (b**2 * a / (1 - a * h))[:, None, None] * v[:, :, None] * v[:, None, :]
        )
        return eliminated

    def _user_changes(self, regression: _Regression, removed: Int64, eliminated: Float64) -> Float64:
        """Return the change of the user's vector after the removal of each entry: (n_removed, width)."""
        f, confidence = regression.features[removed], regression.confidence[removed]
        without = regression.hessian - np.diag(regression.penalty_change)
        without = without - confidence[:, None, None] * f[:, :, None] * f[:, None, :]
        matrices = without - eliminated + self._eliminated(regression, removed)
        gradients = (confidence * regression.residuals[removed])[:, None] * f
        gradients -= regression.penalty_change * regression.vector
        steps = np.linalg.solve(_positive_definite(matrices, without), -gradients[:, :, None])
        return np.asarray(steps[:, :, 0], np.float64)

    def _score_gradient(self, regression: _Regression, item: int, entry: int | None) -> Float64:
        """Return the derivative of an item's score with respect to the user's vector, with the item's response."""
        features, blank = regression.features_of(item), regression.blank_weight
        confidence = 0.0 if entry is None else float(regression.confidence[entry])
        slope = blank * float(features @ regression.vector) if entry is None else float(regression.slopes[entry])
        weight = confidence + blank
        _, h, v = self._responses(regression, np.array([item]), np.array([confidence]), np.array([weight]))
        direction: Float64 = features * (1 - weight * h) - slope * v[0] * regression.is_factor
        return direction

    def _own_effect(self, regression: _Regression, entry: int, step: Float64) -> float:
        """Return the effect of removing an entry on the score of its own item, which also loses the rating or event."""
        item, confidence = regression.columns[entry : entry + 1], regression.confidence[entry : entry + 1]
        v = self._responses(regression, item, confidence, np.array([regression.blank_weight]))[2][0]
        gradient = float(confidence[0] * regression.residuals[entry]) * regression.user_features
        return float(v @ gradient - regression.features[entry] @ step)

    def _responses(
        self, regression: _Regression, items: Int32 | Int64, confidence: Float64, weight: Float64
    ) -> tuple[Float64, Float64, Float64]:
        """Return, for each item, the curvature along the axes without the user, g' A^-1 g and A^-1 g.

        The pair of the user, whose features are g, has this confidence in the support, and this weight in A.
        """
        g = regression.user_features
        others = np.maximum(self.support[items] - self.unit * confidence, 0)
        curvature = np.maximum(np.outer(others, self.eigenvalues) + self.penalty[items], 1e-12)
        v = ((g @ self.axes) / curvature) @ self.axes.T
        h = v @ g
        shrinkage = 1 / (1 + weight * h)  # Sherman-Morrison formula for the pair of the user
        return curvature, h * shrinkage, v * shrinkage[:, None]


def _positive_definite(matrices: Float64, fallback: Float64) -> Float64:
    """Return the matrices if all are positive definite; otherwise the fallback matrices, which always are.

    The curvature of the items is approximated, so that the difference of two positive definite matrices may not be one.
    """
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return fallback
    return matrices


@dataclass(frozen=True, eq=False)
class _Regression:
    """Regression of one user on the features of the items in the history, in float64.

    Attributes
    ----------
    model : FactorModel
        Linear model.
    columns : ndarray of shape (m,), int32
        Items in the history.
    features : ndarray of shape (m, width)
        Their features: factors, and 1 if the model has biases.
    confidence, residuals : ndarray of shape (m,)
        Confidence and residual of each entry.
    vector : ndarray of shape (width,)
        The user's factors, and the bias if any.
    hessian : ndarray of shape (width, width)
        Half the second derivative of the user's loss.
    penalty_change : ndarray of shape (width,)
        Decrease of the penalty if one entry is removed.
    blank_weight : float
        Weight of all pairs, with or without an event.
    """

    model: FactorModel
    columns: Int32
    features: Float64
    confidence: Float64
    residuals: Float64
    vector: Float64
    hessian: Float64
    penalty_change: Float64
    blank_weight: float

    @classmethod
    def of(cls, model: FactorModel, user: int, history: SparseRows) -> Self:
        loss, inputs = model.least_squares, model.item_inputs
        entries, width = loss.entries(history), loss.n_unknowns(model.factors)
        confidence, targets = (values.astype(np.float64) for values in inputs.targets(entries))
        features = inputs.features[entries.columns, :width].astype(np.float64)
        vector = np.append(model.user_factors[user], model.user_bias[user])[:width].astype(np.float64)
        m = len(entries.columns)
        penalty, penalty_without = loss.penalty([m, m - 1], model.n_items).astype(np.float64)
        shape = inputs.shape[:width].astype(np.float64)
        hessian = (features * confidence[:, None]).T @ features
        hessian += np.diag(penalty * shape + inputs.precision[:width])
        if inputs.gram.size:
            hessian += inputs.gram[:width, :width]
        return cls(
            model, entries.columns, features, confidence, targets - features @ vector, vector, hessian,
            (penalty - penalty_without) * shape, loss.blank_weight,
        )  # fmt: skip

    @property
    def is_factor(self) -> Float64:
        """Indicator of the factors: 1 for each factor, 0 for the bias, which multiplies no item parameter."""
        return (np.arange(len(self.vector)) < self.model.factors).astype(np.float64)

    @property
    def user_features(self) -> Float64:
        """Features of the user in the regressions of items: the factors, and 1 if the model has biases."""
        return np.where(self.is_factor > 0, self.vector, 1.0)

    @property
    def slopes(self) -> Float64:
        """Derivative of each entry's term of the loss with respect to its score, halved."""
        scores = self.features @ self.vector
        slopes: Float64 = self.blank_weight * scores - self.confidence * self.residuals
        return slopes

    def features_of(self, item: int) -> Float64:
        """Return the features of an item."""
        return self.model.item_inputs.features[item, : len(self.vector)].astype(np.float64)
