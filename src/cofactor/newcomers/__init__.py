"""Newcomers: what somebody new is taken to be before the first rating, and what to ask them."""

from cofactor.newcomers.interview import Interview, Population

__all__ = ["Interview", "Population"]
