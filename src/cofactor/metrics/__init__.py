"""Metrics for predicted ratings and ranked lists, computed from arrays."""
