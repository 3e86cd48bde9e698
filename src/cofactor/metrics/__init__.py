"""Metrics of predicted ratings and of ranked lists, on arrays alone."""
