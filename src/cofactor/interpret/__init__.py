"""What a model learnt, in names: who and what stands out, and where items lie in the space of tastes."""

from cofactor.interpret.crosstab import filled_crosstab
from cofactor.interpret.disagreements import disagreements
from cofactor.interpret.levels import levels
from cofactor.interpret.taste_map import TasteMap

__all__ = ["TasteMap", "disagreements", "filled_crosstab", "levels"]
