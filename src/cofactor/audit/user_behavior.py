"""Behavior of simulated users: which positions they view, what they accept, and when they leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import Bool, Float64, Int64
from cofactor.errors import ParameterError
from cofactor.validation import require_valid_fields, validated

__all__ = ["UserBehavior"]

MAX_STRENGTH = 50.0
"""Maximum position bias and conformity; larger values overflow without changing any choice."""


@dataclass(frozen=True)
class UserBehavior:
    """Behavior of simulated users in a feedback loop; the default has position bias only.

    Attributes
    ----------
    position_bias : float, default 1.0
        Exponent of the position bias: positions are viewed with weights rank^-position_bias. 0 views all positions
        equally often.
    conformity : float, default 0.0
        Tendency to accept what many others have rated: the log-odds of accepting an item increase by `conformity` for
        each standard deviation by which the logarithm of its support is above the mean of all items.
    boredom : float, default 0.0
        Probability, from 0 to 1, that a user leaves the service for good after viewing an item without accepting it.

    Raises
    ------
    ParameterError
        If a value is out of range.

    References
    ----------
    Craswell et al. (2008), "An experimental comparison of click position-bias models", WSDM (position bias).
    Salganik, Dodds & Watts (2006), "Experimental study of inequality and unpredictability in an artificial cultural
    market", Science 311 (conformity).

    Examples
    --------
    >>> UserBehavior(boredom=0.2)
    UserBehavior(position_bias=1.0, conformity=0.0, boredom=0.2)
    """

    position_bias: float = 1.0
    conformity: float = 0.0
    boredom: float = 0.0

    def __post_init__(self) -> None:
        require_valid_fields(self)
        checks.finite_number("position_bias", self.position_bias, low=0, high=MAX_STRENGTH)
        checks.finite_number("conformity", self.conformity, low=-MAX_STRENGTH, high=MAX_STRENGTH)
        checks.finite_number("boredom", self.boredom, low=0, high=1)

    @validated
    def viewed_positions(self, views: Int64, n: int, stream: np.random.Generator) -> tuple[Int64, Int64]:
        """Draw the list positions that each user views.

        Parameters
        ----------
        views : ndarray of shape (n_users,), int64
            Number of different positions that each user views, at least 0; at most n are viewed.
        n : int
            Length of the lists, at least 1.
        stream : np.random.Generator
            Random generator.

        Returns
        -------
        u, positions : ndarray of shape (n_views,), int64
            Row numbers of the users in ascending order, and 0-based positions.

        Notes
        -----
        Positions are drawn without replacement by the Gumbel trick (Yellott 1977).

        Examples
        --------
        >>> u, positions = UserBehavior().viewed_positions(np.array([1, 0, 2]), 5, np.random.default_rng(0))
        >>> u.tolist(), len(positions)
        ([0, 2, 2], 3)
        """
        n = checks.whole_number("n", n, low=1, high=checks.MAX_LIST_LENGTH)
        views = checks.whole_array("views", views, low=0)
        keys = stream.gumbel(size=(len(views), n)) - self.position_bias * np.log(np.arange(1, n + 1))
        order = np.argsort(-keys, axis=1, kind="stable")
        u, draw_index = np.nonzero(np.arange(n) < views[:, None])
        return u, order[u, draw_index]

    @validated
    def acceptance_probability(self, preference: Float64, support: Any) -> Float64:
        """Return the probability that viewed items are accepted, given the probability based on preference alone.

        Parameters
        ----------
        preference : ndarray of shape (n_users, n_items), float64
            Probability that a user accepts each item by preference alone, between 0 and 1.
        support : array_like of shape (n_items,)
            Number of ratings of each item.

        Returns
        -------
        ndarray of shape (n_users, n_items), float64
            Probabilities; equal to `preference` if `conformity` is 0.

        Raises
        ------
        ParameterError
            `preference` is not between 0 and 1, or does not match `support`.

        Notes
        -----
        With z_i the logarithm of 1 + support_i, standardized over the items::

            log-odds = log-odds of preference + conformity z_i

        Examples
        --------
        >>> UserBehavior(conformity=1.0).acceptance_probability(np.array([[0.5, 0.5]]), [0, 9]).round(2).tolist()
        [[0.27, 0.73]]
        """
        preference = checks.number_array("preference", preference, (None, None), low=0)
        if preference.max(initial=0) > 1:
            raise ParameterError(f"preference must be between 0 and 1; got {preference.max():g}")
        log_support = np.log1p(checks.number_array("support", support, (preference.shape[1],), low=0))
        if self.conformity == 0:
            return preference
        deviation = log_support.std()
        z = (log_support - log_support.mean()) / (deviation if deviation > 0 else 1.0)
        odds = preference * np.exp(self.conformity * z)
        probability: Float64 = odds / (odds + 1 - preference)
        return probability

    @validated
    def leaves(self, n_rejected: Any, stream: np.random.Generator) -> Bool:
        """Draw which users leave after a round.

        Parameters
        ----------
        n_rejected : array_like of shape (n_users,), int
            Number of items that each user viewed without accepting them.
        stream : np.random.Generator
            Random generator.

        Returns
        -------
        ndarray of shape (n_users,), bool
            Mask of the users who leave.

        Notes
        -----
        The probability is 1 - (1 - boredom)^n_rejected.

        Examples
        --------
        >>> UserBehavior(boredom=1.0).leaves([0, 1, 2], np.random.default_rng(0)).tolist()
        [False, True, True]
        """
        n_rejected = checks.whole_array("n_rejected", n_rejected, low=0)
        is_leaving: Bool = stream.random(len(n_rejected)) >= (1 - self.boredom) ** n_rejected
        return is_leaving
