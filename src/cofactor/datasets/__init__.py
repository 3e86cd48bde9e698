"""Data sets: a registry, verified downloads, MovieLens, and synthetic data."""
