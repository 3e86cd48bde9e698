"""Thread-safe LRU cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["LRUCache"]

V = TypeVar("V")


class LRUCache(Generic[V]):
    """Thread-safe cache with a maximum size that evicts the least recently used entry.

    Parameters
    ----------
    size : int
        Maximum number of entries.

    Examples
    --------
    >>> cache = LRUCache(2)
    >>> for key in ("a", "b", "a", "c"):
    ...     cache.put(key, key.upper())
    >>> cache.get("a"), cache.get("b"), len(cache)
    ('A', None, 2)
    """

    def __init__(self, size: int):
        self.size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        """Return the cached value for a key.

        Parameters
        ----------
        key : hashable
            The key.

        Returns
        -------
        Any or None
            The value; None if the key is not in the cache.
        """
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: V) -> None:
        """Store a value for a key in the cache.

        Parameters
        ----------
        key : hashable
            The key.
        value : Any
            The value; it replaces any existing value for the key.
        """
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self.size:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Remove all entries from the cache."""
        with self._lock:
            self._values.clear()

    def __len__(self) -> int:
        return len(self._values)
