"""bufferd: columns of ROOT files, decoded once per node, mapped read-only by every process."""

from . import _bufferd
from .cache import BufferCache, Cleared
from .errors import Error
from .manager import BufferManager
from .node import node as _node
from .reader import open

__version__ = _bufferd.VERSION
__all__ = ["BufferCache", "BufferManager", "Cleared", "Error", "open", "status", "trim"]


def status(socket=None):
    """The daemon's settings and counters by name. Raises Error without a daemon."""
    return _node(socket).require().session.status()


def trim(socket=None):
    """Give every free page of the daemon back to the system; returns how many bytes."""
    return _node(socket).require().session.trim()
