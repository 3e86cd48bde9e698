"""Kernel decorator: compile Python loops with numba on first use, and cache the machine code on disk.

A kernel is defined by a factory function whose integer arguments become compile-time constants:

    @kernel(writes="f4[:, ::1]", reads="f4[:, ::1] i4[::1]", scalars="f4")
    def scale_rows(width):
        def scale_rows(out, x, rows, factor): ...
        return scale_rows

    scale_rows(64)(out, x, rows, 2.0)

Binaries are cached in a directory whose name contains a hash of this package's source files, because numba itself only
detects changes in the file that defines the kernel. numba is not imported until the first kernel is compiled.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cofactor.files import cache_directory

__all__ = ["Kernel", "kernel", "kernel_folder"]

# Allow reordered and fused sums for speed, but do not assume that nan and inf cannot occur.
FAST_MATH = {"reassoc", "contract", "nsz", "arcp", "afn"}

_lock = threading.RLock()
_log = logging.getLogger("cofactor")
_logged: set[str] = set()


class Kernel:
    """Family of compiled functions, one for each tuple of compile-time integers; created by `kernel`.

    Parameters
    ----------
    factory : callable
        Takes the compile-time integers and returns the function to compile. The kernel gets its name and docstring.
    writes, reads, scalars : str
        The argument types, as in `kernel`.

    Attributes
    ----------
    factory : callable
        The factory.
    writes, reads, scalars : str
        The argument types.
    """

    def __init__(self, factory: Callable[..., Callable[..., Any]], writes: str, reads: str, scalars: str):
        self.factory = factory
        self.writes, self.reads, self.scalars = writes, reads, scalars
        self.__doc__ = factory.__doc__
        self.__name__ = factory.__name__
        self._compiled: dict[tuple[int, ...], Callable[..., Any]] = {}

    def __call__(self, *constants: int) -> Callable[..., Any]:
        """Return the compiled function for these integers, compiling it on first use."""
        compiled = self._compiled.get(constants)
        if compiled is None:
            with _lock:
                compiled = self._compiled.get(constants) or self._compile(constants)
                self._compiled[constants] = compiled
        return compiled

    @cached_property
    def signature(self) -> Any:
        """Numba signature of the kernel: its output arrays, followed by its read-only arrays and its scalars."""
        from numba import types
        from numba.core import sigutils

        def parse_types(text: str) -> tuple[Any, ...]:
            names = text.replace(", ", ",").split()
            return tuple(sigutils.normalize_signature(f"void({', '.join(names)})")[0]) if names else ()

        read_only = [types.Array(t.dtype, t.ndim, t.layout, readonly=True) for t in parse_types(self.reads)]
        return types.void(*parse_types(self.writes), *read_only, *parse_types(self.scalars))

    def _compile(self, constants: tuple[int, ...]) -> Callable[..., Any]:
        folder = kernel_folder()
        try:
            return self._compile_in(folder, constants)
        except OSError as error:  # such as a full disk: compile without storing the binary
            _log_unwritable(folder, error)
            return self._compile_in(None, constants)

    def _compile_in(self, folder: Path | None, constants: tuple[int, ...]) -> Callable[..., Any]:
        """Compile a function, and store the binary in `folder` unless it is None; raises OSError if not writable."""
        import numba

        config: Any = numba.config
        marker = None if folder is None else folder / f"{'-'.join([self.__name__, *map(str, constants)])}.done"
        if marker is None or not marker.exists():
            _log_once("compiling", logging.INFO, "compiling kernels for this machine (once; takes a few seconds) ...")
        previous = config.CACHE_DIR
        config.CACHE_DIR = "" if folder is None else str(folder)
        try:
            compiled: Callable[..., Any] = numba.njit(
                [self.signature],
                nogil=True,
                cache=folder is not None,
                fastmath=FAST_MATH,
                error_model="numpy",
                boundscheck=False,
            )(self.factory(*constants))
        finally:
            config.CACHE_DIR = previous
        if marker is not None:
            marker.touch()
        return compiled


def kernel(*, writes: str = "", reads: str = "", scalars: str = "") -> Callable[[Callable[..., Any]], Kernel]:
    """Return a decorator that declares the argument types of a kernel, in numba's short notation.

    Types are separated by spaces. The arguments of a kernel are the arrays to write, then the read-only arrays, then
    the scalars. Calling a kernel with an array of a different type or layout raises TypeError.

    Parameters
    ----------
    writes : str, default ""
        The types of the arrays to write, such as "f4[:, ::1]" for a C-contiguous matrix of float32.
    reads : str, default ""
        The types of the read-only arrays.
    scalars : str, default ""
        The types of the scalars, such as "i8" for a 64-bit integer.

    Returns
    -------
    callable
        The decorator, which converts a factory function to a `Kernel`.
    """
    return lambda factory: Kernel(factory, writes, reads, scalars)


@cache
def kernel_folder() -> Path | None:
    """Return the cache directory for compiled kernels.

    Returns
    -------
    Path or None
        A directory named after the hash of the source files, in `$COFACTOR_CACHE` or in the user's cache directory.
        None if it is not writable, in which case a warning is logged once.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    folder = cache_directory() / f"kernels-{version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        _log_unwritable(folder, error)
        return None


def _log_unwritable(folder: Path | None, error: OSError) -> None:
    _log_once(
        "unwritable",
        logging.WARNING,
        f"{folder} cannot be written ({error.strerror}); kernels will be recompiled in every process. "
        "Set COFACTOR_CACHE to a writable directory.",
    )


def _log_once(key: str, level: int, message: str) -> None:
    if key not in _logged:
        _logged.add(key)
        _log.log(level, message)
