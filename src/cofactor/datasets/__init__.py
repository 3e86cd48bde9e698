"""Data sets: a registry, verified downloads, MovieLens layouts, and synthetic data."""
