"""Newcomers: what somebody new is taken to be, what to ask them, and how new items get their chance.

>>> import cofactor
>>> from cofactor.datasets.synthetic import SyntheticConfig, generate
>>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
>>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
>>> eased = cofactor.cold_start.learn_priors(rec)
>>> len(eased.for_history([(7, 5.0)]).recommend(n=3))
3
"""

from cofactor.cold_start.priors import eased_in, learn_priors
from cofactor.cold_start.questionnaire import Population, Questionnaire
from cofactor.recommender.exploration import Impressions, explore

__all__ = ["Impressions", "Population", "Questionnaire", "eased_in", "explore", "learn_priors"]
