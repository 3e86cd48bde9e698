"""A bounded memory of what was worked out last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

V = TypeVar("V")


class Recent(Generic[V]):
    """At most `size` values by key; the one that was not asked for the longest goes first. Safe to share by threads.

    >>> recent = Recent(2)
    >>> for key in ("a", "b", "a", "c"):
    ...     recent.put(key, key.upper())
    >>> recent.get("a"), recent.get("b"), len(recent)
    ('A', None, 2)
    """

    def __init__(self, size: int):
        self.size = size
        self._guard = threading.Lock()
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        """The value, or None."""
        with self._guard:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: V) -> None:
        """Keep this value."""
        with self._guard:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self.size:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Keep nothing."""
        with self._guard:
            self._values.clear()

    def __len__(self) -> int:
        return len(self._values)
