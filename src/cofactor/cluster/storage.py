"""Work folder: Arrow files that tasks on several machines write and read, on a shared disk or in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

from cofactor.errors import ClusterError

__all__ = ["WorkFolder"]


@dataclass(frozen=True)
class WorkFolder:
    """Folder that all machines of a cluster can read and write.

    A file is written under a temporary name and renamed when it is complete, so that a task that is killed leaves no
    partial file, and a task that runs twice writes the same file again.

    Parameters
    ----------
    uri : str
        Path of a shared folder, or a URI that pyarrow can open, such as `s3://bucket/folder`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as path:
    ...     folder = WorkFolder(path)
    ...     folder.write("numbers/0.arrow", pa.table({"n": [1, 2]}))
    ...     folder.read("numbers/0.arrow")["n"].to_pylist(), folder.names("numbers")
    ([1, 2], ['0.arrow'])
    """

    uri: str

    @cached_property
    def _location(self) -> tuple[Any, str]:
        """File system of pyarrow, and the path of the folder in it."""
        from pyarrow import fs

        if "://" not in self.uri:
            return fs.LocalFileSystem(), self.uri
        with _storage_errors(self.uri):
            system, path = fs.FileSystem.from_uri(self.uri.replace("s3a://", "s3://", 1))
        return system, path

    @property
    def is_local(self) -> bool:
        """Whether the folder is in a file system of this machine."""
        return bool(self._location[0].type_name == "local")

    def path(self, name: str) -> str:
        """Return the path of a file or folder for Spark.

        Parameters
        ----------
        name : str
            Relative path.

        Returns
        -------
        str
        """
        return f"{self.uri.rstrip('/')}/{name}"

    def write(self, name: str, table: Any) -> None:
        """Write an Arrow table to a file atomically; an existing file is replaced.

        Parameters
        ----------
        name : str
            Relative path.
        table : pyarrow.Table
            The table.

        Raises
        ------
        ClusterError
            If the file cannot be written.
        """
        import pyarrow as pa

        with self._new_file(name) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table.combine_chunks())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a small file atomically.

        Parameters
        ----------
        name : str
            Relative path.
        content : bytes
            Content of the file.

        Raises
        ------
        ClusterError
            If the file cannot be written.
        """
        with self._new_file(name) as file:
            file.write(content)

    def read(self, name: str) -> Any:
        """Read an Arrow table; its arrays are mapped from the file if it is on a disk of this machine.

        Parameters
        ----------
        name : str
            Relative path.

        Returns
        -------
        pyarrow.Table

        Raises
        ------
        ClusterError
            If the file cannot be read.
        """
        import pyarrow as pa

        path = self._path(name)
        with _storage_errors(path):
            source = pa.memory_map(path) if self.is_local else self._location[0].open_input_file(path)
            return pa.ipc.open_file(source).read_all()

    def read_bytes(self, name: str) -> bytes | None:
        """Read a small file.

        Parameters
        ----------
        name : str
            Relative path.

        Returns
        -------
        bytes or None
            Content; None if there is no such file.

        Raises
        ------
        ClusterError
            If the file cannot be read.
        """
        path = self._path(name)
        try:
            with _storage_errors(path), self._location[0].open_input_file(path) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """Return the names of the complete files in a folder, in ascending order.

        Parameters
        ----------
        folder : str
            Relative path.

        Returns
        -------
        list of str
        """
        from pyarrow import fs

        with _storage_errors(self.path(folder)):
            selector = fs.FileSelector(self._path(folder), allow_not_found=True)
            return sorted(info.base_name for info in self._location[0].get_file_info(selector))

    def remove(self, folder: str) -> None:
        """Delete a folder, if it exists.

        Parameters
        ----------
        folder : str
            Relative path.
        """
        from pyarrow import fs

        with _storage_errors(self.path(folder)):
            if self._location[0].get_file_info(self._path(folder)).type != fs.FileType.NotFound:
                self._location[0].delete_dir(self._path(folder))

    def _path(self, name: str) -> str:
        return f"{self._location[1].rstrip('/')}/{name}"

    @contextmanager
    def _new_file(self, name: str) -> Iterator[Any]:
        """Open a temporary file, which is renamed at the end, or deleted after an error."""
        system, _ = self._location
        path = self._path(name)
        temporary = f"{path}.{uuid4().hex}"
        with _storage_errors(path):
            system.create_dir(path.rpartition("/")[0], recursive=True)
            try:
                with system.open_output_stream(temporary) as file:
                    yield file
                system.move(temporary, path)
            except BaseException:
                self._remove(temporary)
                raise

    def _remove(self, path: str) -> None:
        with suppress(OSError):
            self._location[0].delete_file(path)


@contextmanager
def _storage_errors(path: str) -> Iterator[None]:
    """Turn errors of a file system, except for a missing file, into ClusterError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = str(error).rpartition("] ")[2] if error.strerror is None else error.strerror
        raise ClusterError(f"the work folder cannot be used ({path}): {reason}") from error
