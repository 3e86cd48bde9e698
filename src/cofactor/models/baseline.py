"""Rating baseline for neighborhood models: a mean and biases, with user biases computed from the users' histories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import Float32, require_array
from cofactor.data.scale import Scale, centered
from cofactor.kernels.neighbor_scores import damped_means
from cofactor.kernels.sparse import SparseRows

__all__ = ["Baseline"]


@dataclass(frozen=True, eq=False)
class Baseline:
    """Rating baseline: mean plus user bias plus item bias; user biases are computed from histories, not stored.

    Parameters
    ----------
    item_bias : ndarray of shape (n_items,), float32
        The bias of each item.
    mean : float
        The global mean.
    damping : float
        The number of ratings equal to the mean that are added to each user's history.
    scale : Scale, optional
        The scale that predictions are clipped to.

    Notes
    -----
    The sum is over the items j in the history of user u::

        b_ui = mean + b_u + b_i,    b_u = sum_j w_uj (r_uj - mean - b_j) / (damping + sum_j w_uj)

    References
    ----------
    Y. Koren. Factorization meets the neighborhood: a multifaceted collaborative filtering model. KDD 2008, section 2.1.

    Examples
    --------
    >>> baseline = Baseline(np.float32([0.5, -0.5]), mean=3.0, damping=1.0)
    >>> history = SparseRows.of(rows=[0], columns=[0], values=[4.5], n_rows=1)          # 1 above mean + b_i
    >>> baseline.user_bias(history).tolist(), baseline.deviations(history).values.tolist()
    ([0.5], [0.5])
    """

    item_bias: Float32
    mean: float
    damping: float
    scale: Scale | None = None

    def __post_init__(self) -> None:
        require_array("item_bias", self.item_bias, np.float32)

    def user_bias(self, histories: SparseRows) -> Float32:
        """Compute the bias of each user from the user's history.

        Parameters
        ----------
        histories : SparseRows
            Ratings, one row for each user.

        Returns
        -------
        ndarray of shape (n_rows,), float32
            One bias for each history; 0 for an empty history.
        """
        histories.checked("histories", len(self.item_bias))
        return damped_means(self.centered(histories), self.item_bias, mean=0.0, damping=self.damping)

    def centered(self, histories: SparseRows) -> SparseRows:
        """Subtract the mean from the ratings in the histories.

        Parameters
        ----------
        histories : SparseRows
            Ratings, one row for each user or item.

        Returns
        -------
        SparseRows
            The same rows and weights, with the values r_uj - mean.
        """
        return replace(histories, values=centered(histories.values, self.mean, self.scale).astype(np.float32))

    def deviations(self, histories: SparseRows) -> SparseRows:
        """Subtract the baseline from the ratings in the histories.

        Parameters
        ----------
        histories : SparseRows
            Ratings, one row for each user.

        Returns
        -------
        SparseRows
            The same rows and weights, with the values r_uj - b_uj.
        """
        user_bias = np.repeat(self.user_bias(histories), histories.counts)
        deviations = self.centered(histories)
        return replace(deviations, values=deviations.values - user_bias - self.item_bias[histories.columns])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the baseline (the item biases) by name.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        return {"item_bias": self.item_bias}

    def settings(self) -> dict[str, Any]:
        """Return the mean, the damping and the rating scale of the baseline.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        scale = None if self.scale is None else asdict(self.scale)
        return {"mean": self.mean, "damping": self.damping, "scale": scale}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Reconstruct a baseline from the output of `arrays()` and `settings()`.

        Parameters
        ----------
        arrays : dict of {str: ndarray}
            The result of `arrays`; additional arrays are ignored.
        settings : dict of {str: object}
            The result of `settings`.

        Returns
        -------
        Baseline
            A bitwise identical object.
        """
        return cls(
            arrays["item_bias"],
            checks.plain("mean", settings["mean"], float),
            checks.plain("damping", settings["damping"], float),
            checks.plain("scale", settings["scale"], Scale | None),
        )
