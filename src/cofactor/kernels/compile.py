"""Compiled when first used, once per machine: how a plain Python loop becomes a kernel.

A kernel is written as a factory that closes over integers only (they become compile-time constants):

    @kernel(writes="f4[:, ::1]", reads="f4[:, ::1] i4[::1]", numbers="f4")
    def scale_rows(width):
        def scale_rows(out, x, rows, factor): ...
        return scale_rows

    scale_rows(64)(out, x, rows, 2.0)

Binaries are kept in a folder named by a hash of this room's sources: numba itself only notices a change in
the file that holds the kernel. numba is imported when the first kernel is asked for, never earlier.
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

from cofactor.files import cache_folder

__all__ = ["Kernel", "kernel", "kernel_folder"]

# Sums may be reordered and fused (that is what makes them fast), but nan and inf keep their meaning.
FAST_MATH = {"reassoc", "contract", "nsz", "arcp", "afn"}

_lock = threading.RLock()
_log = logging.getLogger("cofactor")
_announced: set[str] = set()


class Kernel:
    """A family of compiled functions, one for each tuple of compile-time integers.

    Its name and docstring are its factory's. Made by `kernel`.
    """

    def __init__(self, factory: Callable[..., Callable[..., Any]], writes: str, reads: str, numbers: str):
        self.factory = factory
        self.writes, self.reads, self.numbers = writes, reads, numbers
        self.__doc__ = factory.__doc__
        self.__name__ = factory.__name__
        self._compiled: dict[tuple[int, ...], Callable[..., Any]] = {}

    def __call__(self, *constants: int) -> Callable[..., Any]:
        """The function for these integers: compiled once in a process, by one thread, and then at hand."""
        found = self._compiled.get(constants)
        if found is None:
            with _lock:
                found = self._compiled.get(constants) or self._compile(constants)
                self._compiled[constants] = found
        return found

    @cached_property
    def signature(self) -> Any:
        """Arrays to write come first, then arrays that are only read, then numbers."""
        from numba import types
        from numba.core import sigutils

        def parsed(text: str) -> tuple[Any, ...]:
            names = text.replace(", ", ",").split()
            return tuple(sigutils.normalize_signature(f"void({', '.join(names)})")[0]) if names else ()

        read_only = [types.Array(t.dtype, t.ndim, t.layout, readonly=True) for t in parsed(self.reads)]
        return types.void(*parsed(self.writes), *read_only, *parsed(self.numbers))

    def _compile(self, constants: tuple[int, ...]) -> Callable[..., Any]:
        folder = kernel_folder()
        try:
            return self._compile_in(folder, constants)
        except OSError as problem:  # a full disk: the kernel is compiled without being stored
            _announce_unwritable(folder, problem)
            return self._compile_in(None, constants)

    def _compile_in(self, folder: Path | None, constants: tuple[int, ...]) -> Callable[..., Any]:
        """Compile, and keep the binary in a folder if there is any. Raises OSError where it cannot be written."""
        import numba

        config: Any = numba.config
        marker = None if folder is None else folder / f"{'-'.join([self.__name__, *map(str, constants)])}.done"
        if marker is None or not marker.exists():
            _announce("compiling", logging.INFO, "compiling kernels for this machine (once, a few seconds) ...")
        before = config.CACHE_DIR
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
            config.CACHE_DIR = before
        if marker is not None:
            marker.touch()
        return compiled


def kernel(*, writes: str = "", reads: str = "", numbers: str = "") -> Callable[[Callable[..., Any]], Kernel]:
    """Declare the argument types of a kernel factory, in numba's short notation, separated by blanks.

    writes, reads, numbers: in this order they are the kernel's arguments; "f4[:, ::1]" is a C-contiguous matrix of
    float32, "i8" a whole number. Arrays of another type or layout are a TypeError when it is called.
    """
    return lambda factory: Kernel(factory, writes, reads, numbers)


@cache
def kernel_folder() -> Path | None:
    """Where compiled kernels are kept, or None when no folder can be written (this is said once).

    `$COFACTOR_CACHE`, else the user's cache folder; below it a folder named by the sources' hash.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    folder = cache_folder() / f"kernels-{version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as problem:
        _announce_unwritable(folder, problem)
        return None


def _announce_unwritable(folder: Path | None, problem: OSError) -> None:
    _announce(
        "unwritable",
        logging.WARNING,
        f"{folder} cannot be written ({problem.strerror}); kernels are compiled in every process. "
        "Set COFACTOR_CACHE to a folder that can be written.",
    )


def _announce(what: str, level: int, message: str) -> None:
    if what not in _announced:
        _announced.add(what)
        _log.log(level, message)
