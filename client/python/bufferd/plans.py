"""Plans: how the daemon is asked for one of coffea's keys, and asking it.

A plan names a column that the daemon makes, or an array that coffea makes and puts. Which it is
follows from the key and the tree's index; it changes once, when the daemon says that it cannot make
the column after all.
"""

from __future__ import annotations

from typing import NamedTuple

from . import _bufferd, keys
from .connection import HOPELESS, REOPEN, log
from .errors import Error

MAX_PLANS = 1 << 16


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


class Plans:
    """The plans of one cache on one connection."""

    def __init__(self, connection, files):
        self.connection, self.session, self._files = connection, connection.session, files
        self._plans = {}
        self._version = files.version

    def plan(self, key):
        """How to ask for a coffea key. None: its file is not known here, so it is never shared."""
        if self._version != self._files.version:
            self._version = self._files.version
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
        path = self._files.find(parsed.uuid) if parsed else None
        if path is None:
            return None
        try:
            source = self.connection.source(path, parsed.uuid)
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
        what, depth, branch, field = program
        if field is not None:
            branch = f"{branch}.{field}"
        try:
            tree = self.connection.tree(source, parsed.tree)
        except Error as e:
            if e.name in HOPELESS:
                return None
            raise
        column = tree.columns.get(branch)
        if column is None or not column.is_native(tree) or parsed.stop > tree.n_entries:
            return None
        if column.n_per_entry != 1 or column.is_member != (field is not None):
            return None
        if what == keys.VALUES and depth != column.depth:
            return None
        if what == keys.OFFSETS and depth >= column.depth:
            return None
        if what == keys.COUNTS and (column.depth or column.item_type not in _INTEGERS):
            return None
        n = parsed.stop - parsed.start if depth == 0 else None
        is_offsets = what != keys.VALUES
        by_counter = what == keys.OFFSETS and column.counter
        text = _bufferd.key_column(
            source.source_id,
            tree.path,
            parsed.start,
            parsed.stop,
            column.counter if by_counter else column.name,
            _bufferd.OFFSETS + depth if is_offsets else _bufferd.DATA,
        )
        if text is None:
            return None
        if is_offsets:
            return Plan(text, True, _INT64, None if n is None else n + 1, source.path)
        return Plan(text, True, column.item_type, n, source.path)

    def _derived_plan(self, parsed, source):
        text = self.connection.derived_key(source, keys.derived_name(parsed))
        return Plan(text, False, path=source.path)

    def find(self, key):
        """(plan, view) of a coffea key; the view is None when coffea has to make it. Raises Error
        when the daemon cannot be asked."""
        plan = self.plan(key)
        view = self.session.find(plan.key) if plan is not None else None
        if view is not None and plan.accepts(view):
            return plan, view
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
            if result.name in REOPEN:
                self.connection.forget(plan.path)
                self._plans.clear()
                plan = self.plan(key)
            elif plan.is_native and result.name in HOPELESS:
                log.debug("%s: %s", key, result)
                parsed = keys.parse(key)
                plan = self._derived_plan(parsed, self.connection.source(plan.path, parsed.uuid))
                self._remember(key, plan)
            else:
                break
        return plan, None
