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
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "cofactor"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cofactor"
