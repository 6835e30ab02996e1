"""The daemon of this node as this process sees it: one session per socket, shared by all caches.

``Node.connection()`` answers the live connection, or None; it never raises. Without a daemon
everything is a miss and the analysis reads in-process. A daemon that went away is reported once per
process, then tried again in silence, at growing intervals.
"""

from __future__ import annotations

import os
import sysconfig
import threading
import time
import warnings
import weakref

from . import _bufferd
from .connection import Connection
from .errors import Error
from .files import known_files

RETRY_S = 5.0

_once = set()


def first(what):
    """True the first time in this process."""
    if what in _once:
        return False
    _once.add(what)
    return True


class Node:
    def __init__(self, socket):
        self.socket = socket
        self.caches = weakref.WeakSet()
        self.after_fork()

    def after_fork(self):
        self._lock = threading.Lock()
        self._connection = None
        self._retry_at = 0.0
        self._wait_s = RETRY_S
        for cache in list(self.caches):
            cache.detach()

    def connection(self):
        """The live connection, or None."""
        connection = self._connection
        if connection is not None and connection.session.alive:
            return connection
        if connection is not None:
            self.lost(connection, Error(100, "gone", "the daemon has gone"))
        if time.monotonic() < self._retry_at:
            return None
        return self._connect()

    def _connect(self):
        # The first connect is worth waiting for; later ones are somebody else's business.
        if not self._lock.acquire(blocking=self._retry_at == 0.0):
            return None
        try:
            if self._connection is not None or time.monotonic() < self._retry_at:
                return self._connection
            began = time.monotonic()
            try:
                session = _bufferd.Session(socket=self.socket or None, daemon=_daemon())
                self._connection = Connection(session)
                self._wait_s = RETRY_S
            except Error as e:
                self._set_back(time.monotonic() - began)
                _warn(e)
            return self._connection
        finally:
            self._lock.release()

    def require(self):
        """The live connection; raises Error."""
        connection = self.connection()
        if connection is None:
            raise Error(100, "gone", "no bufferd daemon can be reached")
        return connection

    def _set_back(self, spent_s=0.0):
        """An attempt may cost at most a tenth of the time."""
        self._retry_at = time.monotonic() + max(self._wait_s, 10 * spent_s)
        self._wait_s = min(2 * self._wait_s, 60.0)

    def lost(self, connection, error):
        """`connection` does not answer any more."""
        if self._connection is connection:
            self._connection = None
            self._set_back()
            _warn(error)


def _daemon():
    """The daemon that was installed with this package, for who runs its Python by path."""
    program = os.path.join(sysconfig.get_path("scripts"), "bufferd")
    return program if "BUFFERD_DAEMON" not in os.environ and os.path.exists(program) else None


def _warn(error):
    if first("lost"):
        warnings.warn(
            f"bufferd is not there ({error}); reading in-process until it is back",
            RuntimeWarning,
            stacklevel=2,
        )


_nodes = {}
_nodes_lock = threading.Lock()


def node(socket=None):
    """The node behind a socket (None: $BUFFERD_SOCKET, else this user's own daemon)."""
    name = os.fspath(socket) if socket is not None else os.environ.get("BUFFERD_SOCKET", "")
    with _nodes_lock:
        if name not in _nodes:
            _nodes[name] = Node(name)
        return _nodes[name]


def _after_fork_in_child():
    global _nodes_lock
    _nodes_lock = threading.Lock()
    known_files.after_fork()
    for each in _nodes.values():
        each.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
