"""A connection: one session, and the files and trees of it.

Source numbers and tree indexes belong to the daemon that gave them out, so they live in a
``Connection`` and die with it.
"""

from __future__ import annotations

import math
import re
import logging
import os
import threading
import uuid as uuidlib
from typing import NamedTuple

from . import _bufferd, keys
from .errors import Error
from .files import signature

log = logging.getLogger("bufferd")

#: outcomes after which the column is read by coffea or uproot, and shared as what they made
HOPELESS = frozenset(
    "unsupported corrupt io not-root no-tree no-column range bad-key limit internal".split()
)
#: those of them that are the file's own, so that they are remembered as long as it stays as it is
LASTING = HOPELESS - frozenset("io limit internal".split())
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
    n_levels: int  #: of nested lists of its own; a jagged branch has its counter's
    is_string: bool
    is_member: bool  #: of a record, "branch.member"

    @property
    def depth(self):
        """How many lists are nested in each entry."""
        return 1 if self.counter else self.n_levels

    @property
    def shape(self):
        """The fixed dimensions, or None when only their product is known."""
        dims = tuple(int(n) for n in re.findall(r"\[([0-9]+)\]", self.type_name or ""))
        return dims if math.prod(dims) == self.n_per_entry else None

    def is_native(self, tree):
        """True when the daemon reads all of the tree's entries of it."""
        return self.reason is None and self.has_data and self.n_entries == tree.n_entries


class Tree:
    """A tree's index as plain Python objects."""

    def __init__(self, source_id, index):
        self.source_id = source_id
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
        self._sources = {}  # path: (signature, Source and UUID, or the Error of opening it)
        self._trees = {}  # (source_id, tree): Tree, or the Error
        # One thread opens: a file that was just written is another source each time that it is
        # opened, and threads are to share one.
        self._lock = threading.Lock()

    def source(self, path, uuid=None):
        """The source of a file; with `uuid`, only if it is still that file."""
        with self._lock:
            now = signature(path)
            before, found = self._sources.get(path, (None, None))
            if found is None or before != now:
                found = self._open(path)
                self._sources[path] = now, found
        if isinstance(found, Error):
            raise found
        source, found_uuid = found
        if uuid is not None and found_uuid != uuid:
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
            if e.name not in LASTING:
                raise
            return e
        finally:
            os.close(fd)
        return Source(source_id, path), str(uuidlib.UUID(bytes=uuid))

    def forget(self, path):
        self._sources.pop(path, None)

    def tree(self, source, name):
        key = source.source_id, name
        found = self._trees.get(key)
        if found is None:
            try:
                found = Tree(source.source_id, self.session.describe(source.source_id, name))
            except Error as e:
                if e.name not in LASTING:
                    raise
                found = e
            self._trees[key] = found
        if isinstance(found, Error):
            raise found
        return found

    @staticmethod
    def derived_key(source, name):
        text = _bufferd.key_derived(source.source_id, name)
        return text or _bufferd.key_derived(source.source_id, keys.shortened(name))
