"""The command line: `cofactor COMMAND`. Each command is a few lines over the rooms below."""

from __future__ import annotations

from cofactor.cli.application import app, run

__all__ = ["app", "run"]
