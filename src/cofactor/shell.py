"""Shell-quoted commands for messages, so that users can copy and run them safely."""

from __future__ import annotations

import os
import shlex
import sys

__all__ = ["as_path", "command", "quote"]


def command(*arguments: object) -> str:
    """Return a `cofactor` command line with shell-quoted arguments.

    Parameters
    ----------
    *arguments : object
        The subcommand and its arguments.

    Returns
    -------
    str
        The command line.

    Examples
    --------
    >>> command("recommend", "my films.cofactor", "--user", "$(id)")
    "cofactor recommend 'my films.cofactor' --user '$(id)'"
    """
    return " ".join(["cofactor", *map(quote, arguments)])


def quote(argument: object) -> str:
    """Quote an argument for a POSIX shell.

    Parameters
    ----------
    argument : object
        The argument.

    Returns
    -------
    str
        The quoted argument; if standard output cannot show all characters, the bytes are written as octal escapes.

    Examples
    --------
    >>> quote("ana"), quote("a b")
    ('ana', "'a b'")
    >>> print(quote("a\\nb"))
    "$(printf 'a\\012b')"
    """
    text = str(argument)
    if _is_printable(text) or text.endswith("\n"):  # "$(...)" would drop line breaks at the end
        return shlex.quote(text)
    escaped_bytes = "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:03o}" for byte in os.fsencode(text)
    )
    return f"\"$(printf '{escaped_bytes}')\""


def as_path(path: object) -> str:
    """Return a path as an argument that is never parsed as a command-line option.

    Parameters
    ----------
    path : object
        The path.

    Returns
    -------
    str
        The path, prefixed with "./" if it starts with a dash.

    Examples
    --------
    >>> as_path("-r.csv"), as_path("r.csv")
    ('./-r.csv', 'r.csv')
    """
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def _is_printable(text: str) -> bool:
    """Return whether standard output can show all characters of a string."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return text.isprintable()
