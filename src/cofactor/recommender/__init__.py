"""Recommender: a fitted model with IDs, histories and item tables."""
