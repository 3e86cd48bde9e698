"""Tests, by kind: CONTRIBUTING.md describes the folders."""
