"""What a model can do, as Protocols asked with isinstance: there are no methods that only raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, SparseRows
from cofactor.models.distribution import Distribution
from cofactor.models.explanation import Explanation

__all__ = [
    "ComparesItems",
    "Explains",
    "FoldsAbout",
    "FoldsIn",
    "HasFactors",
    "HasUncertainty",
    "KnowsTime",
    "Model",
    "PredictsRatings",
    "ScoresItems",
    "TakesItems",
    "distribution",
    "predicted",
]


@runtime_checkable
class Model(Protocol):
    """Frozen arrays that can be written to a file and read back."""

    kind: ClassVar[str]

    @property
    def n_users(self) -> int: ...

    @property
    def n_items(self) -> int: ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learnt, by name."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything else that is needed to use the arrays, as plain JSON values."""
        ...

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self: ...


@runtime_checkable
class PredictsRatings(Protocol):
    """Can say what rating a user would give."""

    def predict(self, users: Int32, items: Int32, histories: SparseRows) -> Float32:
        """The expected rating of each pair, on the scale: (n,) float32. A row of -1 is an unknown user or item."""
        ...


@runtime_checkable
class ScoresItems(Protocol):
    """Can order the catalog for a user."""

    def scores(self, users: Int32, histories: SparseRows) -> Float32:
        """The unclipped score of every item: (n_users, n_items) float32, higher is better."""
        ...

    def top(
        self, users: Int32, n: int, *, histories: SparseRows, exclude: SparseRows, allowed: Bool
    ) -> tuple[Int32, Float32]:
        """The n best items: rows (n_users, n), -1 where there is none, and scores, best first.

        histories and exclude hold one row per asked user, in that order; allowed is (n_items,) bool, empty for all.
        """
        ...


@runtime_checkable
class HasFactors(Protocol):
    """Has a vector for every user and every item."""

    @property
    def user_factors(self) -> Float32: ...

    @property
    def item_factors(self) -> Float32: ...


@runtime_checkable
class FoldsIn(Protocol):
    """Can work out users that it was not trained on, from their histories, without retraining."""

    def fold_in(self, histories: SparseRows) -> Self:
        """The same model with these histories' rows as its users."""
        ...

    def with_users(self, other: Self, take: Int32) -> Self:
        """A model whose users are picked by `take` from this one's (t >= 0) and `other`'s (row -1 - t)."""
        ...


@runtime_checkable
class FoldsAbout(Protocol):
    """Can work newcomers out from what they are taken to be beside their histories; see `models.prior`."""

    def fold_in_about(self, histories: SparseRows, means: Float64, precision: Float64) -> Self:
        """As `FoldsIn.fold_in`, about a prior: means (n, w), precision (w, w)."""
        ...


@runtime_checkable
class TakesItems(Protocol):
    """Can hold new items without retraining."""

    def items_about(self, raters: SparseRows, means: Float64, precision: Float64) -> tuple[Float32, Float32]:
        """Vectors (n, factors) and biases (n,) of new items from who rated them (a row each), about a prior."""
        ...

    def with_items(self, factors: Float32, bias: Float32, take: Int32) -> Self:
        """A model whose items are picked by `take` from this one's (t >= 0) and the new ones (row -1 - t)."""
        ...


@runtime_checkable
class HasUncertainty(Protocol):
    """Can say how sure a predicted rating is."""

    def distribution(self, users: Int32, items: Int32, histories: SparseRows) -> Distribution:
        """What each pair's rating may be; users, items and histories as in `PredictsRatings.predict`."""
        ...


@runtime_checkable
class KnowsTime(Protocol):
    """May predict otherwise at one time than at another. times (n,) int64: seconds since 1970."""

    @property
    def knows_time(self) -> bool:
        """Whether it learnt from time: else times change nothing."""
        ...

    def predict_at(self, users: Int32, items: Int32, times: Int64, histories: SparseRows) -> Float32:
        """As `PredictsRatings.predict`, each pair at its time."""
        ...

    def distribution_at(self, users: Int32, items: Int32, times: Int64, histories: SparseRows) -> Distribution:
        """As `HasUncertainty.distribution`, each pair at its time."""
        ...


@runtime_checkable
class ComparesItems(Protocol):
    """Can say how alike items are, beyond having vectors (`HasFactors`)."""

    def item_similarity(self, items: Int32) -> Float32:
        """Similarity -1..1 of all pairs within each row of item rows: (m, c) gives (m, c, c) float32; 0 for row -1."""
        ...


@runtime_checkable
class Explains(Protocol):
    """Can say what its scores are made of."""

    def explain(self, user: int, item: int, histories: SparseRows) -> Explanation:
        """The parts of one known pair's score; histories holds all users' rows."""
        ...


def predicted(model: Any, users: Int32, items: Int32, times: Int64 | None, histories: SparseRows) -> Float32:
    """The expected ratings of pairs, at their times where those are known and the model minds: (n,) float32."""
    if times is not None and isinstance(model, KnowsTime):
        return model.predict_at(users, items, times, histories)
    ratings: Float32 = model.predict(users, items, histories)
    return ratings


def distribution(
    model: HasUncertainty, users: Int32, items: Int32, times: Int64 | None, histories: SparseRows
) -> Distribution:
    """What the ratings of pairs may be, at their times where those are known and the model minds."""
    if times is not None and isinstance(model, KnowsTime):
        return model.distribution_at(users, items, times, histories)
    return model.distribution(users, items, histories)
