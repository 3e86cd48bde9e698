"""The baseline of neighbor models: what a rating is above its user's and its item's level. No user is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import Float32, require_array
from cofactor.data.scale import Scale
from cofactor.kernels.neighbor_scores import damped_means
from cofactor.kernels.sparse import SparseRows

__all__ = ["Baseline"]


@dataclass(frozen=True, eq=False)
class Baseline:
    """What a rating is before anything personal is known, from the item's bias and the user's history.

        b_ui = mean + b_u + b_i,    b_u = sum_j w_uj (r_uj - mean - b_j) / (damping + sum_j w_uj)

    with j over u's history. item_bias (n_items,) float32. `damping`: how many ratings at the average a user starts
    with. Predictions are clipped to `scale` where there is one. Source: Koren 2008, section 2.1.

    >>> baseline = Baseline(np.float32([0.5, -0.5]), mean=3.0, damping=1.0)
    >>> one = SparseRows.of(rows=[0], columns=[0], values=[4.5], n_rows=1)          # 1 above what the item gets
    >>> baseline.user_bias(one).tolist(), baseline.deviations(one).values.tolist()
    ([0.5], [0.5])
    """

    item_bias: Float32
    mean: float
    damping: float
    scale: Scale | None = None

    def __post_init__(self) -> None:
        require_array("item_bias", self.item_bias, np.float32)

    def user_bias(self, histories: SparseRows) -> Float32:
        """b_u of each history, (n_rows,) float32; 0 for an empty one."""
        histories.checked("histories", len(self.item_bias))
        return damped_means(histories, self.item_bias, mean=self.mean, damping=self.damping)

    def deviations(self, histories: SparseRows) -> SparseRows:
        """The same rows holding x_uj = r_uj - b_uj: values (n,) float32, weights as they were."""
        user_bias = np.repeat(self.user_bias(histories), histories.counts)
        level = np.float32(self.mean) + user_bias + self.item_bias[histories.columns]
        return replace(histories, values=histories.values - level)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """b_i, the only thing learnt of rows: users' biases follow from their histories."""
        return {"item_bias": self.item_bias}

    def settings(self) -> dict[str, Any]:
        """mean, damping and the scale."""
        scale = self.scale
        stored = None if scale is None else {"low": scale.low, "high": scale.high, "levels": scale.levels}
        return {"mean": self.mean, "damping": self.damping, "scale": stored}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """The baseline of a neighbor model's file: `arrays` may hold the links' arrays beside its own."""
        return cls(
            arrays["item_bias"],
            checks.plain("mean", settings["mean"], float),
            checks.plain("damping", settings["damping"], float),
            checks.plain("scale", settings["scale"], Scale | None),
        )
