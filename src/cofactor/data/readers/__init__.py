"""Readers: load interactions from files, data frames and databases, and report or reject bad rows."""
