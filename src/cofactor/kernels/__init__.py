"""Kernels: compiled loops over NumPy arrays, each with a NumPy implementation in `reference`."""
