"""Configuration of synthetic ratings, and predefined configurations."""

from __future__ import annotations

from dataclasses import dataclass

from cofactor.arrays import MAX_ROWS
from cofactor.errors import ParameterError
from cofactor.validation import require_valid_fields

__all__ = ["HEAVY_SHAPE", "MOVIELENS_1M_SHAPE", "MOVIELENS_20M_SHAPE", "SyntheticConfig"]

MAX_FACTORS = 1024
"""Maximum number of factors, the same as for the estimators."""
HALF_STARS = tuple(half / 2 for half in range(1, 11))


@dataclass(frozen=True)
class SyntheticConfig:
    """Configuration of synthetic ratings; `cofactor.datasets.synthetic` defines the model.

    Levels, the mean, `heavy_bonus` and the standard deviations of biases, factors, genre preferences and noise are in
    rating units, such as stars.

    Attributes
    ----------
    n_users, n_items : int
        Number of users and of items.
    n_ratings : int
        Exact number of ratings. Each user has at least `min_ratings_per_user`; an item can have none.
    rating_levels : tuple of float
        Rating levels in ascending order.
    mean : float
        Global mean before noise and rounding.
    user_bias_std, item_bias_std : float
        Standard deviations of the biases.
    factors : int
        Number of latent factors.
    factor_std : float
        Standard deviation of the dot product p_u . q_i.
    noise_std : float
        Standard deviation of the noise in a rating.
    popularity : float
        Exponent of the Zipf-Mandelbrot law of item popularity; 0 for equal popularity.
    popularity_offset : float
        Offset of the rank in the Zipf-Mandelbrot law, above -1.
    activity_std : float
        Standard deviation of the logarithm of the number of ratings per user; 0 for equal activity.
    min_ratings_per_user : int
        Minimum number of ratings per user.
    max_ratings_per_user : int or None
        Maximum number of ratings per user; None for `n_items`.
    genres : int
        Number of genres. They are of equal size and in order: the first n_items / genres items are genre 0.
    taste_std : float
        Standard deviation of a user's preference for a genre; preferences are independent and normal.
    heavy_share : float
        Fraction of users who are heavy raters, from 0 to 1.
    heavy_multiplier : float
        Factor by which the number of ratings of heavy raters is multiplied.
    heavy_focus : float
        Fraction of heavy raters' ratings that are for items of genre 0, from 0 to 1, as far as there are enough such
        items; 0 for no preference.
    heavy_bonus : float
        Amount by which heavy raters rate items of genre 0 higher.

    Raises
    ------
    ParameterError
        If the values are inconsistent or out of range; the message lists each violated condition.

    Examples
    --------
    >>> SyntheticConfig(n_users=20, n_items=30, n_ratings=200, heavy_share=0.1).heavy_multiplier
    5.0
    >>> SyntheticConfig(n_users=10, n_items=5, n_ratings=100)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: invalid synthetic data configuration: n_ratings must lie between 10 and 50 ...
    """

    n_users: int = 1_000
    n_items: int = 500
    n_ratings: int = 50_000
    rating_levels: tuple[float, ...] = HALF_STARS
    mean: float = 3.5
    user_bias_std: float = 0.4
    item_bias_std: float = 0.4
    factors: int = 8
    factor_std: float = 0.4
    noise_std: float = 0.8
    popularity: float = 1.0
    popularity_offset: float = 10.0
    activity_std: float = 1.0
    min_ratings_per_user: int = 1
    max_ratings_per_user: int | None = None
    genres: int = 1
    taste_std: float = 0.0
    heavy_share: float = 0.0
    heavy_multiplier: float = 5.0
    heavy_focus: float = 0.0
    heavy_bonus: float = 0.0

    def __post_init__(self) -> None:
        require_valid_fields(self)
        violations = [condition for condition, is_met in self._conditions().items() if not is_met]
        if violations:
            raise ParameterError(f"invalid synthetic data configuration: {'; '.join(violations)}")

    def _conditions(self) -> dict[str, bool]:
        """Return a mapping from the text of each condition on the fields to whether it holds."""
        users, items = self.n_users, self.n_items
        low, high = self.min_ratings_per_user, items if self.max_ratings_per_user is None else self.max_ratings_per_user
        deviations = (self.user_bias_std, self.item_bias_std, self.factor_std, self.noise_std, self.activity_std)
        nonnegative = (*deviations, self.taste_std, self.factors, self.popularity, self.heavy_multiplier)
        fractions = (self.heavy_share, self.heavy_focus)
        limits = "min_ratings_per_user and max_ratings_per_user"
        allowed_range = f"between {users * low:,} and {users * high:,} (n_users times {limits})"
        return {
            "n_users, n_items and genres must be at least 1": min(users, items, self.genres) >= 1,
            f"n_users and n_items must be at most {MAX_ROWS:,}": max(users, items) <= MAX_ROWS,
            f"factors must be at most {MAX_FACTORS:,}": self.factors <= MAX_FACTORS,
            f"genres must be at most n_items, {items}": self.genres <= items,
            f"{limits} must satisfy 1 <= min <= max <= n_items, {items}": 1 <= low <= high <= items,
            f"n_ratings must lie {allowed_range}": users * low <= self.n_ratings <= users * high,
            "rating_levels must be non-empty and in ascending order": len(self.rating_levels) > 0
            and list(self.rating_levels) == sorted(set(self.rating_levels)),
            "factors, popularity, heavy_multiplier and standard deviations must not be negative": min(nonnegative) >= 0,
            "popularity_offset must be above -1": self.popularity_offset > -1,
            "heavy_share and heavy_focus must be from 0 to 1": min(fractions) >= 0 and max(fractions) <= 1,
        }


MOVIELENS_1M_SHAPE = SyntheticConfig(
    n_users=6_040,
    n_items=3_706,
    n_ratings=1_000_209,
    rating_levels=(1.0, 2.0, 3.0, 4.0, 5.0),
    popularity=2.2,
    popularity_offset=350.0,
    activity_std=1.1,
    min_ratings_per_user=20,
    max_ratings_per_user=2_314,
)
"""The size of MovieLens 1M, with similarly skewed item popularity and user activity."""

MOVIELENS_20M_SHAPE = SyntheticConfig(
    n_users=138_493,
    n_items=26_744,
    n_ratings=20_000_263,
    popularity=2.8,
    popularity_offset=900.0,
    activity_std=1.2,
    min_ratings_per_user=20,
    max_ratings_per_user=9_254,
)
"""The size of MovieLens 20M, with similarly skewed item popularity and user activity."""

HEAVY_SHAPE = SyntheticConfig(
    n_users=2_000,
    n_items=2_000,
    n_ratings=100_000,
    activity_std=0.0,
    genres=10,
    taste_std=0.5,
    heavy_share=0.08,
    heavy_multiplier=5.0,
    heavy_focus=0.7,
    heavy_bonus=1.0,
)
"""Ratings with a small group of heavy raters who prefer one genre and rate it higher."""
