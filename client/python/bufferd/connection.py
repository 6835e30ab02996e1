"""A connection: one session, and the files and trees of it.

Source numbers, tree indexes and plans (how the daemon is asked for one of coffea's keys) belong to
the daemon that gave them out, so all of them live in a ``Connection`` and die with it.
"""

from __future__ import annotations

import logging
import os
import uuid as uuidlib
from typing import NamedTuple

from . import _bufferd, keys
from .errors import Error
from .files import files

log = logging.getLogger("bufferd")

MAX_PLANS = 1 << 16

#: outcomes after which the column is read by coffea or uproot, and shared as what they made
_HOPELESS = frozenset(
    "unsupported corrupt io not-root no-tree no-column range bad-key limit internal".split()
)
#: outcomes after which the source has to be shown again
_REOPEN = frozenset(("need-fd", "no-source", "changed"))


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


class Plan(NamedTuple):
    """How the daemon is asked for one of coffea's keys."""

    key: str  #: the daemon's
    is_native: bool  #: made by the daemon; else made by coffea and put
    item_type: int = 0
    n_items: int | None = None  #: None: known when it is there
    path: str = ""

    def accepts(self, view):
        """Is it what coffea's form expects?"""
        if not self.is_native:
            return True
        n_bytes = _ITEM_BYTES.get(self.item_type, 0)
        if view.item_type != self.item_type or not n_bytes or view.nbytes % n_bytes:
            return False
        return self.n_items is None or view.nbytes == self.n_items * n_bytes


_ITEM_BYTES = {number: int(text[2:]) for text, number in _bufferd.ITEM_TYPES.items()}
_INT64 = _bufferd.ITEM_TYPES["<i8"]
_INTEGERS = frozenset(n for text, n in _bufferd.ITEM_TYPES.items() if text[1] in "iu")


class Connection:
    """One session, with what it knows of files and trees."""

    def __init__(self, session):
        self.session = session
        self._sources = {}  # path: Source, or the Error of opening it
        self._trees = {}  # (source_id, tree): Tree, or the Error
        self._plans = {}
        self._files_version = files.version

    # Two threads may do the same work here at once; the later one wins and nothing is wrong.

    def source(self, path, uuid=None):
        """The source of a file; with `uuid`, only if it is still that file."""
        found = self._sources.get(path)
        if found is None:
            found = self._sources[path] = self._open(path)
        if isinstance(found, Error):
            raise found
        source, found_uuid = found
        if uuid is not None and found_uuid != uuid:
            del self._sources[path]
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
            if e.name not in _HOPELESS:
                raise
            return e
        finally:
            os.close(fd)
        return Source(source_id, path), str(uuidlib.UUID(bytes=uuid))

    def forget(self, path):
        self._sources.pop(path, None)
        self._plans.clear()

    def tree(self, source, name):
        key = source.source_id, name
        found = self._trees.get(key)
        if found is None:
            try:
                found = Tree(self.session.describe(source.source_id, name))
            except Error as e:
                if e.name not in _HOPELESS:
                    raise
                found = e
            self._trees[key] = found
        if isinstance(found, Error):
            raise found
        return found

    def plan(self, key):
        """How to ask for a coffea key. None: its file is not known here, so it is never shared."""
        if self._files_version != files.version:
            self._files_version = files.version
            self._plans.clear()
        plan = self._plans.get(key)
        if plan is None:
            plan = self._make_plan(key)
            if plan is not None:
                self._remember(key, plan)
        return plan

    def _remember(self, key, plan):
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[key] = plan

    def _make_plan(self, key):
        parsed = keys.parse(key)
        path = files.find(parsed.uuid) if parsed else None
        if path is None:
            return None
        try:
            source = self.source(path, parsed.uuid)
        except Error as e:
            if e.name in ("gone", "timeout"):
                raise
            log.debug("%s: %s", path, e)
            return None
        return self._native_plan(parsed, source) or self._derived_plan(parsed, source)

    def _native_plan(self, parsed, source):
        program = parsed.program()
        if program is None:
            return None
        what, branch = program
        try:
            tree = self.tree(source, parsed.tree)
        except Error as e:
            if e.name in _HOPELESS:
                return None
            raise
        column = tree.columns.get(branch)
        if column is None or not column.is_native(tree) or parsed.stop > tree.n_entries:
            return None
        wants_list = what in (keys.CONTENT, keys.OFFSETS)
        if wants_list != (column.counter is not None):
            return None
        if what == keys.COUNTS and column.item_type not in _INTEGERS:
            return None
        n = parsed.stop - parsed.start
        is_offsets = what in (keys.OFFSETS, keys.COUNTS)
        text = _bufferd.key_column(
            source.source_id,
            tree.path,
            parsed.start,
            parsed.stop,
            column.counter if what == keys.OFFSETS else branch,
            _bufferd.OFFSETS if is_offsets else _bufferd.DATA,
        )
        if text is None:
            return None
        if is_offsets:
            return Plan(text, True, _INT64, n + 1, source.path)
        return Plan(text, True, column.item_type, None if wants_list else n, source.path)

    def _derived_plan(self, parsed, source):
        return Plan(self.derived_key(source, keys.derived_name(parsed)), False, path=source.path)

    @staticmethod
    def derived_key(source, name):
        text = _bufferd.key_derived(source.source_id, name)
        return text or _bufferd.key_derived(source.source_id, keys.shortened(name))

    def find(self, key):
        """(plan, view) of a coffea key; the view is None when coffea has to make it. Raises Error
        when the daemon cannot be asked."""
        plan = self.plan(key)
        for _ in range(3):
            if plan is None:
                return None, None
            if plan.is_native:
                (result,), _ = self.session.materialize((plan.key,))
            else:
                (result,) = self.session.get((plan.key,))
            if not isinstance(result, Error):
                if plan.accepts(result):
                    return plan, result
                result = Error(0, "unsupported", "not of the expected type and length")
            if result.name in _REOPEN:
                self.forget(plan.path)
                plan = self.plan(key)
            elif plan.is_native and result.name in _HOPELESS:
                log.debug("%s: %s", key, result)
                parsed = keys.parse(key)
                plan = self._derived_plan(parsed, self.source(plan.path, parsed.uuid))
                self._remember(key, plan)
            else:
                break
        return plan, None
