"""Command-line interface, `cofactor COMMAND`: one module per command, each a thin layer over the library."""

from __future__ import annotations

from cofactor.cli.application import app, run

__all__ = ["app", "run"]
