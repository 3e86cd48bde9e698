"""Compiled loops over arrays. They know no ids, no models and no files; each has a NumPy twin in `reference`."""
