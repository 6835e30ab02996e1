"""BufferCache: the node's shared buffers as the mapping that coffea takes as ``buffer_cache=``."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import MutableMapping
from typing import NamedTuple

import numpy as np

from . import _bufferd
from .connection import log
from .errors import Error
from .files import Files, known_files
from .node import first, node
from .plans import Plans

LOCAL_BYTES = 1 << 30

_OUTCOMES = ("freed", "held_by_you", "held_by_others", "kept", "not_there")


class Amount(NamedTuple):
    buffers: int
    bytes: int


class Cleared(dict):
    """What became of cleared buffers: outcome to ``Amount(buffers, bytes)``.

    ``freed``: gone. ``held_by_you``: an array of this process still uses it; freed when the last
    one goes. ``held_by_others``: another process uses it. ``kept``: another process has the file
    open; the first to go when memory is needed. ``not_there``: nothing to clear.
    """

    def __init__(self, rows=()):
        super().__init__({name: Amount(0, 0) for name in _OUTCOMES})
        for name, n_bytes in rows:
            old = self[name]
            self[name] = Amount(old.buffers + 1, old.bytes + n_bytes)

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class _Local:
    """Arrays that cannot be shared: a dict that forgets the oldest above a number of bytes."""

    def __init__(self, max_bytes):
        self._arrays, self._bytes, self.max_bytes = OrderedDict(), 0, max_bytes
        self.after_fork()

    def after_fork(self):
        self._lock = threading.Lock()

    def clear(self):
        with self._lock:
            self._arrays.clear()
            self._bytes = 0

    def get(self, key):
        with self._lock:
            array = self._arrays.get(key)
            if array is not None:
                self._arrays.move_to_end(key)
            return array

    def put(self, key, array):
        with self._lock:
            self._drop(key)
            self._arrays[key] = array
            self._bytes += getattr(array, "nbytes", 0)
            while self._bytes > self.max_bytes and len(self._arrays) > 1:
                self._drop(next(iter(self._arrays)))

    def drop(self, key):
        """How many bytes it had; None when it was not there."""
        with self._lock:
            array = self._drop(key)
            return None if array is None else getattr(array, "nbytes", 0)

    def _drop(self, key):
        array = self._arrays.pop(key, None)
        self._bytes -= getattr(array, "nbytes", 0)
        return array

    def keys(self):
        with self._lock:
            return list(self._arrays)


def _item_type(value):
    """The item type under which an array can be shared, or None."""
    if not isinstance(value, np.ndarray) or value.ndim != 1 or not value.flags.c_contiguous:
        return None
    return _bufferd.ITEM_TYPES.get(value.dtype.str)


class BufferCache(_bufferd.Cache, MutableMapping):
    """A mapping of coffea's buffer keys to read-only arrays in memory that the node shares.

    Parameters
    ----------
    files : path, list of paths, ``{path: tree}`` or coffea fileset, optional
        Files that keys may belong to. Others become known by ``BufferManager(events)`` and by
        ``bufferd.open``. A key of an unknown file is kept in this process only. (Keys name a file
        by its UUID alone, so all headers of the list are read once, when the first key asks.)
    socket : path, optional
        The daemon's socket; default ``$BUFFERD_SOCKET``, else this user's own daemon, which is
        started when it does not run.
    local_bytes : int
        How much is kept in this process of what cannot be shared.

    Plain columns are made by the daemon; what only coffea can make is shared once it has made it.
    An array's memory stays as long as an array uses it, and no longer on our account. Without a
    daemon this is an ordinary in-process cache; one ``RuntimeWarning`` says so.

    Cheap to make, safe from all threads, picklable, usable after ``os.fork``.
    """

    def __init__(self, files=None, socket=None, *, local_bytes=LOCAL_BYTES):
        self._files = Files(known_files)
        self._files.add(files)
        self._socket = socket
        self._node = node(socket)
        self._plans = None  # on the connection that is attached
        self._local = _Local(local_bytes)
        self._node.caches.add(self)

    def __reduce__(self):
        return _remake, (type(self), self._files.paths(), self._socket, self._local.max_bytes)

    def __repr__(self):
        state = "connected" if self._plans is not None else "not connected"
        return f"<bufferd.BufferCache {state}, {len(self)} keys>"

    # ABCMeta makes subclasses of Mapping unhashable; the node keeps caches in a WeakSet.
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other

    def add_file(self, path, uuid=None):
        """Let keys of this file be answered. `uuid`, when it is known, saves reading other files'
        headers."""
        version = self._files.version
        if uuid is not None:
            self._files.add_known(uuid, path)
        self._files.add(path)
        if self._files.version != version:  # what was granted may be another file's
            self._unplug()
            self._local.clear()

    def detach(self):
        """Forget the session: it belongs to the parent process."""
        self._unplug()
        self._files.after_fork()
        self._local.after_fork()

    def _unplug(self):
        self._plans = None
        self._attach(None)

    def _plugged(self):
        """The plans on the live connection, or None."""
        connection = self._node.connection()
        plans = self._plans
        if connection is not None and (plans is None or plans.connection is not connection):
            self._attach(connection.session)
            plans = self._plans = Plans(connection, self._files)
        return plans if connection is not None else None

    def _ask(self, call, *args, otherwise=None):
        """Call with the plans; `otherwise` when there is no daemon or it fails."""
        plans = self._plugged()
        if plans is None:
            return otherwise
        try:
            return call(plans, *args)
        except Error as e:
            if e.name == "gone":
                self._node.lost(plans.connection, e)
            else:
                log.debug("%s", e)
            return otherwise

    # ---- the mapping; get, [], in and their quick part are in the extension ----

    def _miss(self, key):
        array = self._local.get(key)
        if array is not None:
            return array
        plan, view = self._ask(self._find, key, otherwise=(None, None))
        if view is None:
            return None
        self._grant(key, view, plan.key)
        return view.array()

    @staticmethod
    def _find(plans, key):
        plan, view = plans.find(key)
        if plan is None and first("unknown file"):
            log.warning(
                "a buffer's file is not known, so it is not shared: use BufferCache(files) or "
                "BufferManager(events) (said once)"
            )
        return plan, view

    def __setitem__(self, key, value):
        text = view = None
        item_type = _item_type(value)
        if item_type is not None:
            text, view = self._ask(self._put, key, value, item_type, otherwise=(None, None))
        if view is None:
            self._local.put(key, value)
        else:
            self._local.drop(key)
            self._grant(key, view, text)

    @staticmethod
    def _put(plans, key, value, item_type):
        """(the daemon's key, the view); nothing when it cannot be shared."""
        plan = plans.plan(key)
        if plan is None or plan.is_native:  # not shared, or the daemon's to make
            return None, None
        view, _ = plans.session.put(plan.key, value, item_type)
        if view.nbytes != value.nbytes or view.item_type != item_type:
            return None, None
        return plan.key, view

    def __delitem__(self, key):
        is_known = self._local.get(key) is not None
        outcome = self.discard([key])
        if not is_known and outcome.not_there.buffers:
            raise KeyError(key)

    def pop(self, key, *default):
        """The array if it can be had without loading it; done with it in any case."""
        array = self._local.get(key)
        if array is None:
            array = self._peek(key)
        self.discard([key])
        if array is not None:
            return array
        if default:
            return default[0]
        raise KeyError(key)

    def popitem(self):
        for key in self:
            try:
                return key, self.pop(key)
            except KeyError:
                continue
        raise KeyError("the cache is empty")

    def clear(self):
        """Done with every key this process knows."""
        self.discard(list(self))

    def discard(self, keys):
        """Done with these keys: forget them, and let the daemon free what nobody uses."""
        keys = list(dict.fromkeys(keys))
        rows, asked = [], []
        for key in keys:
            self._forget(key)
            n_bytes = self._local.drop(key)
            if n_bytes is not None:
                rows.append(("freed", n_bytes))
            else:
                asked.append(key)
        answers = self._ask(self._clear, asked, otherwise=[("not_there", 0)] * len(asked))
        return Cleared(rows + answers)

    @staticmethod
    def _clear(plans, keys):
        texts = [plan.key for plan in map(plans.plan, keys) if plan is not None]
        rows = [("not_there", 0)] * (len(keys) - len(texts))
        for outcome, n_bytes in plans.session.clear(texts) if texts else ():
            rows.append((_OUTCOMES[outcome], n_bytes))
        return rows

    def __iter__(self):
        return iter(dict.fromkeys(self._granted() + self._local.keys()))

    def __len__(self):
        return len(set(self._granted() + self._local.keys()))


def _remake(cls, files, socket, local_bytes):
    return cls(files, socket, local_bytes=local_bytes)
