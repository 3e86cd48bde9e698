"""Newcomers: what somebody new is taken to be, what to ask them, and how new items get their chance."""

from cofactor.newcomers.exploration import Explored, Impressions, explore
from cofactor.newcomers.interview import Interview, Population
from cofactor.newcomers.priors import eased_in, learn_priors

__all__ = ["Explored", "Impressions", "Interview", "Population", "eased_in", "explore", "learn_priors"]
