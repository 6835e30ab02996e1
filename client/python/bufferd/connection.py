"""A connection: one session, and the files and trees of it.

Source numbers and tree indexes belong to the daemon that gave them out, so they live in a
``Connection`` and die with it.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid as uuidlib
from typing import NamedTuple

from . import _bufferd, keys
from .errors import Error

log = logging.getLogger("bufferd")

#: outcomes after which the column is read by coffea or uproot, and shared as what they made
HOPELESS = frozenset(
    "unsupported corrupt io not-root no-tree no-column range bad-key limit internal".split()
)
#: outcomes after which the source has to be shown again
REOPEN = frozenset(("need-fd", "no-source", "changed"))


class Column(NamedTuple):
    name: str
    title: str
    class_name: str
    type_name: str
    reason: str | None
    counter: str | None
    has_data: bool
    item_type: int
    n_per_entry: int
    n_entries: int
    n_baskets: int
    zip_bytes: int

    def is_native(self, tree):
        """True when each entry is one item, or a list of items, of a type that NumPy has."""
        return (
            self.reason is None
            and self.has_data
            and self.n_per_entry == 1
            and self.n_entries == tree.n_entries
        )


class Tree:
    """A tree's index as plain Python objects."""

    def __init__(self, index):
        self.path, self.title, self.kind = index.path, index.title, index.kind
        self.n_entries = index.n_entries
        self.columns = {}
        for row in index.columns():
            self.columns.setdefault(row[0], Column(*row))


class Source(NamedTuple):
    source_id: int
    path: str


class Connection:
    """One session, with what it knows of files and trees."""

    def __init__(self, session):
        self.session = session
        self._sources = {}  # path: Source, or the Error of opening it
        self._trees = {}  # (source_id, tree): Tree, or the Error
        self._lock = threading.Lock()

    def _once(self, table, key, make, *args):
        """The entry of a key. One thread makes it: a file that was just written is another source
        each time that it is opened, and threads are to share one."""
        found = table.get(key)
        if found is None:
            with self._lock:
                found = table.get(key)
                if found is None:
                    found = table[key] = make(*args)
        return found

    def source(self, path, uuid=None):
        """The source of a file; with `uuid`, only if it is still that file."""
        found = self._once(self._sources, path, self._open, path)
        if isinstance(found, Error):
            raise found
        source, found_uuid = found
        if uuid is not None and found_uuid != uuid:
            self.forget(path)
            raise Error(0, "changed", f"{path} is another file now")
        return source

    def _open(self, path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise Error(-(e.errno or 5), "errno", f"{path}: {e.strerror}") from None
        try:
            source_id, _, uuid = self.session.open(fd, path)
        except Error as e:
            if e.name not in HOPELESS:
                raise
            return e
        finally:
            os.close(fd)
        return Source(source_id, path), str(uuidlib.UUID(bytes=uuid))

    def forget(self, path):
        self._sources.pop(path, None)

    def tree(self, source, name):
        found = self._once(
            self._trees, (source.source_id, name), self._describe, source.source_id, name
        )
        if isinstance(found, Error):
            raise found
        return found

    def _describe(self, source_id, name):
        try:
            return Tree(self.session.describe(source_id, name))
        except Error as e:
            if e.name not in HOPELESS:
                raise
            return e

    @staticmethod
    def derived_key(source, name):
        text = _bufferd.key_derived(source.source_id, name)
        return text or _bufferd.key_derived(source.source_id, keys.shortened(name))
