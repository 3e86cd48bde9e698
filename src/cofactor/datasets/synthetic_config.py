"""The settings of a made-up ratings table, and a few well-known shapes."""

from __future__ import annotations

from dataclasses import dataclass

from cofactor.arrays import MOST_ROWS
from cofactor.errors import ParameterError
from cofactor.validation import require_valid_fields

__all__ = ["EAGER_SHAPE", "MOVIELENS_1M_SHAPE", "MOVIELENS_20M_SHAPE", "World"]

MOST_FACTORS = 1024
"""As many factors as an estimator can have."""
HALF_STARS = tuple(half / 2 for half in range(1, 11))


@dataclass(frozen=True)
class World:
    """The settings of a made-up table: its size, and what its ratings are made from.

    Levels, mean, standard deviations (`..._sd`) and `eager_bonus` are in units of the ratings, such as stars; how they
    come together is told in `synthetic`. Raises ParameterError for what cannot be made.

    >>> World(n_users=20, n_items=30, n_ratings=200, eager_share=0.1).eager_times
    5.0
    >>> World(n_users=10, n_items=5, n_ratings=100)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: this world cannot be made: n_ratings must lie between 10 and 50 ...
    """

    n_users: int = 1_000
    n_items: int = 500
    n_ratings: int = 50_000
    """Exactly so many; every user has at least `fewest`, an item may have none."""
    levels: tuple[float, ...] = HALF_STARS
    mean: float = 3.5
    user_bias_sd: float = 0.4
    item_bias_sd: float = 0.4
    factors: int = 8
    factor_sd: float = 0.4
    """Standard deviation, in stars, of the dot product p_u . q_i."""
    noise_sd: float = 0.8
    popularity: float = 1.0
    """Exponent of the Zipf-Mandelbrot law; 0: all items alike."""
    popularity_offset: float = 10.0
    activity_sd: float = 1.0
    """Standard deviation of the logarithm of a user's number of ratings; 0: all users alike."""
    fewest: int = 1
    most: int | None = None
    """Ratings of one user at the most; None: as many as there are items."""
    genres: int = 1
    """Items are parted into genres of equal size in order: the first n_items / genres are genre 0."""
    taste_sd: float = 0.0
    """Every user's taste for every genre, independent normals, in stars."""
    eager_share: float = 0.0
    """Share of the users, 0..1, who are eager: they rate `eager_times` as much as others, ..."""
    eager_times: float = 5.0
    eager_focus: float = 0.0
    """... this share, 0..1, of it on genre 0 (as far as it has items), the rest on the others, ..."""
    eager_bonus: float = 0.0
    """... and give genre 0 so many stars more."""

    def __post_init__(self) -> None:
        require_valid_fields(self)
        broken = [rule for rule, holds in self._rules().items() if not holds]
        if broken:
            raise ParameterError(f"this world cannot be made: {'; '.join(broken)}")

    def _rules(self) -> dict[str, bool]:
        users, items, most = self.n_users, self.n_items, self.n_items if self.most is None else self.most
        sds = (self.user_bias_sd, self.item_bias_sd, self.factor_sd, self.noise_sd, self.activity_sd)
        sizes = (*sds, self.taste_sd, self.factors, self.popularity, self.eager_times)
        shares = (self.eager_share, self.eager_focus)
        between = f"between {users * self.fewest:,} and {users * most:,} (n_users times fewest and most)"
        return {
            "n_users, n_items and genres must be at least 1": min(users, items, self.genres) >= 1,
            f"n_users and n_items must be at most {MOST_ROWS:,}": max(users, items) <= MOST_ROWS,
            f"factors must be at most {MOST_FACTORS:,}": self.factors <= MOST_FACTORS,
            f"genres must be at most n_items, {items}": self.genres <= items,
            f"1 <= fewest <= most <= n_items, {items}, must hold": 1 <= self.fewest <= most <= items,
            f"n_ratings must lie {between}": users * self.fewest <= self.n_ratings <= users * most,
            "levels must ascend": len(self.levels) > 0 and list(self.levels) == sorted(set(self.levels)),
            "factors, popularity, eager_times and standard deviations must not be negative": min(sizes) >= 0,
            "popularity_offset must be above -1": self.popularity_offset > -1,
            "eager_share and eager_focus are shares, 0..1": min(shares) >= 0 and max(shares) <= 1,
        }


MOVIELENS_1M_SHAPE = World(
    n_users=6_040,
    n_items=3_706,
    n_ratings=1_000_209,
    levels=(1.0, 2.0, 3.0, 4.0, 5.0),
    popularity=2.2,
    popularity_offset=350.0,
    activity_sd=1.1,
    fewest=20,
    most=2_314,
)
"""The size of MovieLens 1M; the popularity of items and the activity of users are about as skewed."""

MOVIELENS_20M_SHAPE = World(
    n_users=138_493,
    n_items=26_744,
    n_ratings=20_000_263,
    popularity=2.8,
    popularity_offset=900.0,
    activity_sd=1.2,
    fewest=20,
    most=9_254,
)
"""The size of MovieLens 20M; the popularity of items and the activity of users are about as skewed."""

EAGER_SHAPE = World(
    n_users=2_000,
    n_items=2_000,
    n_ratings=100_000,
    activity_sd=0.0,
    genres=10,
    taste_sd=0.5,
    eager_share=0.08,
    eager_times=5.0,
    eager_focus=0.7,
    eager_bonus=1.0,
)
"""A film site that a few eager fans of one genre rate much and high."""
