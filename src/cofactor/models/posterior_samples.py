"""Draws from a posterior, and newcomers worked out in one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from cofactor.arrays import Float32, contiguous
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.ridge import RATINGS, Side, solve
from cofactor.kernels.sparse import SparseRows

__all__ = ["Newcomers", "Posterior", "as_item", "as_user", "features"]

HALF = 20.0
"""What a newcomer has rated so far is a part of what they will: of so many items, what the choice tells counts half."""

NOISE_STEPS = 2
"""How often a newcomer's vector and noise are worked out from each other."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """S draws from the posterior. A vector is [factors, bias, padding], width a multiple of 8; all arrays are float32.

        users (S, n_users, width), items (S, n_items, width): the vectors
        user_noise (S, n_users), item_noise (S, n_items): rating (u, i) of draw s has the
            precision user_noise[s, u] * item_noise[s, i]
        user_mean, user_precision (S, width): the normal prior of a user's vector, without
            what the history adds
        terms (S, n_items, width): what having rated an item adds to a user's prior mean;
            (S, 0, width) without
        unknown_user, unknown_user_variance, unknown_item, unknown_item_variance (S, width):
            the prior of those of whom nothing is known, averaged over everybody's terms
        base_noise (S,): the precision common to all ratings
        noise_shape (S,): the shape of the gamma prior of a user's own factor on it

    Its length is S.
    """

    users: Float32
    items: Float32
    user_noise: Float32
    item_noise: Float32
    user_mean: Float32
    user_precision: Float32
    terms: Float32
    unknown_user: Float32
    unknown_user_variance: Float32
    unknown_item: Float32
    unknown_item_variance: Float32
    base_noise: Float32
    noise_shape: Float32

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class Newcomers:
    """Users of these histories in one draw: ridge regressions whose prior mean the history itself gives, more or less.

        prior = whole (mean + sum_j term_j / sqrt(n)) + (1 - whole) unknown,    whole = n / (n + HALF)

        items (m, width), item_noise (m,): of the items that the histories name
        entries: the ratings less the center, by those items' numbers
        side: the items as a user's equations see them, with each user's prior

    Who has no history (n = 0) is `unknown`.
    """

    items: Float32
    item_noise: Float32
    entries: SparseRows
    side: Side
    base_noise: float
    noise_shape: float
    factors: int

    @classmethod
    def of(cls, post: Posterior, s: int, histories: SparseRows, k: int, center: float) -> Self:
        """In draw s of factors k; `histories` hold ratings, of which `center` is the average in training."""
        named, columns = np.unique(histories.columns, return_inverse=True)
        entries = replace(histories, columns=columns.astype(np.int32), values=histories.values - np.float32(center))
        owner, items = histories.owners, post.items[s, named]
        prior = np.tile(post.user_mean[s], (len(histories), 1))
        prior[histories.counts == 0] = post.unknown_user[s]
        if post.terms.shape[1]:
            scale = (1 / np.sqrt(np.maximum(histories.counts, 1))).astype(np.float32)
            np.add.at(prior, owner, post.terms[s][histories.columns] * scale[owner, None])
            whole = (histories.counts / (histories.counts + HALF)).astype(np.float32)[:, None]
            prior = whole * prior + (1 - whole) * post.unknown_user[s]
        width = items.shape[1]
        side = Side(
            RATINGS,
            features(items, k),
            contiguous(items[:, k], np.float32),
            np.zeros((0, 0), np.float32),
            np.zeros(width, np.float32),
            contiguous(post.user_precision[s], np.float32),
            prior,
        )
        noise, shape = float(post.base_noise[s]), float(post.noise_shape[s])
        return cls(items, post.item_noise[s, named], entries, side, noise, shape, k)

    def mean_and_noise(self) -> tuple[Float32, Float32]:
        """The conditional mean vector of each history and its noise precision, from each other: (n, width), (n,)."""
        k, entries, owner = self.factors, self.entries, self.entries.owners
        noise = np.full(len(entries), self.base_noise, np.float32)
        mean, wide = self.solved(noise), as_item(self.items, k)
        for _ in range(NOISE_STEPS):
            x = pair_dots(as_user(mean, k), wide, owner.astype(np.int32), entries.columns)
            squares = (entries.values - x) ** 2 * self.item_noise[entries.columns]
            misfit = np.bincount(owner, weights=squares, minlength=len(entries)) * self.base_noise
            factor = (self.noise_shape + entries.counts / 2) / (self.noise_shape + misfit / 2)
            noise = (self.base_noise * factor).astype(np.float32)
            mean = self.solved(noise)
        return mean, noise

    def solved(self, noise: Float32, *, z: Float32 | None = None) -> Float32:
        """The mean at this noise precision (n,), or with z (width,), standard normal, a draw: (n, width) float32."""
        weights = noise[self.entries.owners] * self.item_noise[self.entries.columns]
        if self.entries.weights is not None:
            weights = weights * self.entries.weights
        x = np.zeros((len(self.entries), self.items.shape[1]), np.float32)
        drawn = None if z is None else np.tile(z, (len(x), 1))
        solve(x, replace(self.entries, weights=weights), np.zeros(len(x), np.float32), self.side, noise=drawn)
        return x


def features(vectors: Float32, k: int) -> Float32:
    """[factors, 1, padding]: what the other side's [factors, bias] are multiplied by; (n, width) float32.

    >>> features(np.float32([[0.5, 9, 9]]), 1).tolist()
    [[0.5, 1.0, 0.0]]
    """
    features = contiguous(vectors, np.float32).copy()
    features[:, k] = 1
    features[:, k + 1 :] = 0
    return features


def as_user(vectors: Float32, k: int) -> Float32:
    """[factors, bias, 1]: (n, k + 2) float32, so that a dot product with `as_item` adds both biases.

    >>> user, item = as_user(np.float32([[2, 0.5, 0]]), 1), as_item(np.float32([[3, 0.25, 0]]), 1)
    >>> (user @ item.T).tolist()                         # 2 * 3 + 0.5 + 0.25
    [[6.75]]
    """
    wide = np.zeros((len(vectors), k + 2), np.float32)
    wide[:, : k + 1], wide[:, k + 1] = vectors[:, : k + 1], 1
    return wide


def as_item(vectors: Float32, k: int) -> Float32:
    """[factors, 1, bias]: (n, k + 2) float32; the other side of `as_user`."""
    wide = np.zeros((len(vectors), k + 2), np.float32)
    wide[:, :k], wide[:, k], wide[:, k + 1] = vectors[:, :k], 1, vectors[:, k]
    return wide
