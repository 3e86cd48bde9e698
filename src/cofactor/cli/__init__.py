"""The command line: `cofactor COMMAND`. Each command is a few lines over the rooms below."""

from __future__ import annotations

from cofactor.cli.app import app, run

__all__ = ["app", "run"]
