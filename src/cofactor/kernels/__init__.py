"""Compiled loops over NumPy arrays, without ids, models or files; `reference` holds a NumPy version of each kernel."""
