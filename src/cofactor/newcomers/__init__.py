"""Newcomers: what somebody new is taken to be before the first rating, and what to ask them."""

from cofactor.newcomers.interview import Interview, Population
from cofactor.newcomers.priors import learn_priors

__all__ = ["Interview", "Population", "learn_priors"]
