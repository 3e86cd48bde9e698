"""Interpretation of fitted models: bias rankings, surprising items, and maps of the item factors.

Examples
--------
>>> import cofactor
>>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
>>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
>>> cofactor.interpret.bias_ranking(rec)["item"].to_list()
[7, 8, 9]
"""

from cofactor.interpret.biases import bias_ranking, surprising_items
from cofactor.interpret.crosstab import filled_crosstab
from cofactor.interpret.factor_map import FactorMap

__all__ = ["FactorMap", "bias_ranking", "filled_crosstab", "surprising_items"]
