"""Where what can be made again is kept: compiled kernels, fetched data sets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """`$COFACTOR_CACHE`, else this platform's cache folder of the user with `cofactor` in it. It need not exist.

    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, COFACTOR_CACHE="elsewhere"):
    ...     print(cache_folder())
    elsewhere
    """
    if chosen := os.environ.get("COFACTOR_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local") / "cofactor"
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "cofactor"


def _home() -> Path:
    """The user's home folder. A user without one gets a folder that cannot be made: what needs it says what to do."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.devnull)
