"""Cache directory for compiled kernels and data sets, and atomic file writes."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["cache_directory", "write_atomically"]


def cache_directory() -> Path:
    """Return the cache directory for compiled kernels and data sets.

    Returns
    -------
    Path
        `$COFACTOR_CACHE` if it is set, otherwise the platform's cache directory, as determined by platformdirs
        (`~/.cache/cofactor` on Linux). It may not exist yet.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, COFACTOR_CACHE="elsewhere"):
    ...     print(cache_directory())
    elsewhere
    """
    if configured_folder := os.environ.get("COFACTOR_CACHE"):
        return Path(configured_folder)
    from platformdirs import user_cache_path

    unusable_path = Path(os.devnull, "cofactor")  # for a user without a home: it cannot be created
    try:
        path = user_cache_path("cofactor", appauthor=False)
    except RuntimeError:
        return unusable_path
    return unusable_path if path.parts[0] == "~" else path


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically: write to a temporary file, then rename it.

    Readers see either the old file or the new one, never a partial file.

    Parameters
    ----------
    path : str or Path
        Path of the file. An existing file keeps its mode and, if the system permits, its owner; the mode of a new file
        follows the umask. If the path is a symbolic link, the target of the link is replaced.
    write : callable
        Function called with the path of the temporary file. If it raises, the old file is kept and the temporary file
        is removed.

    Raises
    ------
    OSError
        If the folder is not writable, or `path` exists and is not a regular file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "note"), lambda temporary: temporary.write_text("whole"))
    ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
    [('note', 'whole')]
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it exists and is not a regular file", str(target))
    previous = target.stat() if target.exists() else None
    temporary_path = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        if previous is not None:  # private until it has the mode of the old file
            os.close(os.open(temporary_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        write(temporary_path)
        with temporary_path.open("r+b") as file:
            os.fsync(file.fileno())
            if previous is not None:
                with suppress(OSError):
                    os.fchown(file.fileno(), previous.st_uid, previous.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(previous.st_mode))
        temporary_path.replace(target)
    except OSError as problem:  # the error names the temporary file or no file; name the target
        raise OSError(problem.errno, problem.strerror or str(problem), str(target)) from problem
    finally:
        temporary_path.unlink(missing_ok=True)
