"""Metrics of predicted ratings and of ranked lists; they work on arrays alone."""
