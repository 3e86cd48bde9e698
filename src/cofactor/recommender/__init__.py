"""The recommender: a model with ids, histories and item tables."""
