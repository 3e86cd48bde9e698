"""Commands of `cofactor`, run in this process with `run` and its variants, or in a process of their own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

from typer.testing import CliRunner, Result

from cofactor.cli import app


def run(*arguments: object, text: str | None = None, **environment: str) -> Result:
    """Run a command with `text` as its standard input; its output has 80 columns unless COLUMNS is given."""
    texts = [str(argument) for argument in arguments]
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return CliRunner().invoke(app, texts, input=text, env={"COLUMNS": "80", **environment})
    finally:  # `cofactor train` logs to its standard error, which ends here
        root.handlers[:] = handlers
        root.setLevel(level)


def ok(*arguments: object, code: int = 0, **options: Any) -> Result:
    """Run a command that must end with this exit code."""
    result = run(*arguments, **options)
    assert result.exit_code == code, result.stderr or result.exception
    return result


def stdout_of(*arguments: object, **options: Any) -> str:
    """Run a command that must end with the exit code `code` (0) and return its standard output."""
    return ok(*arguments, **options).stdout


def json_of(*arguments: object) -> Any:
    """Run a command with --json and return its output, which must be strict JSON."""
    return json.loads(stdout_of(*arguments, "--json"), parse_constant=_reject)


def rejected(*arguments: object) -> str:
    """Run a command that must end with exit code 2 and print nothing; return its standard error."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.stdout
    return result.stderr


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "cofactor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def _reject(constant: str) -> None:
    raise AssertionError(f"{constant} is not strict JSON")
