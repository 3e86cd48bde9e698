"""Data sets: verified MovieLens downloads and synthetic data.

Examples
--------
>>> import cofactor
>>> dataset = cofactor.datasets.DATASETS["movielens-100k"]
>>> dataset.ratings, dataset.users, dataset.items
(100000, 943, 1682)
"""

from cofactor.datasets.loading import fetch, load_movielens
from cofactor.datasets.registry import DATASETS, Dataset
from cofactor.datasets.synthetic import SyntheticConfig, generate

__all__ = ["DATASETS", "Dataset", "SyntheticConfig", "fetch", "generate", "load_movielens"]
