"""What a model learnt, in names: who and what stands out, and where items lie in the space of tastes."""

from cofactor.interpret.levels import levels
from cofactor.interpret.taste_map import TasteMap

__all__ = ["TasteMap", "levels"]
