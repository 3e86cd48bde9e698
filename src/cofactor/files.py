"""Where what can be made again is kept: compiled kernels, fetched data sets."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["cache_folder", "write_whole"]


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


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary_path)`, then rename: readers see the old file or the new one, never a part.

    A file that is there keeps its mode, and its owner where the system allows it; a new one follows the umask. Where
    `path` is a symbolic link, the file that it points to is replaced. Where `write` raises, the old file stays and
    nothing is left behind. Raises OSError where the folder cannot be written, or `path` is there and is not an ordinary
    file.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "note"), lambda temporary: temporary.write_text("whole"))
    ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
    [('note', 'whole')]
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is there, and it is not an ordinary file", str(target))
    before = target.stat() if target.exists() else None
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        if before is not None:  # until it has the mode of the old file, nobody else reads it
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        write(temporary)
        with temporary.open("r+b") as done:
            os.fsync(done.fileno())
            if before is not None:
                with suppress(OSError):
                    os.fchown(done.fileno(), before.st_uid, before.st_gid)
                os.fchmod(done.fileno(), stat.S_IMODE(before.st_mode))
        temporary.replace(target)
    except OSError as problem:  # it names the temporary file, or none
        raise OSError(problem.errno, problem.strerror or str(problem), str(target)) from problem
    finally:
        temporary.unlink(missing_ok=True)
