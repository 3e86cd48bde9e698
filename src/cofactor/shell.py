"""Commands as messages print them: quoted, so that a shell runs exactly what was meant."""

from __future__ import annotations

import os
import shlex
import sys

__all__ = ["as_path", "command", "quoted"]


def command(*words: object) -> str:
    """Return a `cofactor` command with its words quoted.

    >>> command("recommend", "my films.cofactor", "--user", "$(id)")
    "cofactor recommend 'my films.cofactor' --user '$(id)'"
    """
    return " ".join(["cofactor", *map(quoted, words)])


def quoted(word: object) -> str:
    """Return a word quoted for a POSIX shell.

    What a terminal cannot show is written as octal numbers of its bytes.

    >>> quoted("ana"), quoted("a b")
    ('ana', "'a b'")
    >>> print(quoted("a\\nb"))
    "$(printf 'a\\012b')"
    """
    text = str(word)
    if _shows(text) or text.endswith("\n"):  # a shell drops line breaks at the end of "$(...)"
        return shlex.quote(text)
    plain = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:03o}" for byte in os.fsencode(text))
    return f"\"$(printf '{plain}')\""


def as_path(path: object) -> str:
    """Return a path that no command takes for an option.

    >>> as_path("-r.csv"), as_path("r.csv")
    ('./-r.csv', 'r.csv')
    """
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def _shows(text: str) -> bool:
    """Whether standard output shows every character."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return text.isprintable()
