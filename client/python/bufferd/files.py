"""Which file has which UUID.

coffea's keys name a file by its UUID alone. Paths come from the user (``BufferCache(files)``), from
events (``BufferManager(events)``) and from ``bufferd.open``; a file's header is read when some key
asks for a UUID that is not known yet, so that a list of thousands of files costs nothing at first.
A UUID that two different files carry names neither: such keys are not answered from a file.
"""

from __future__ import annotations

import os
import struct
import threading
import uuid as uuidlib
from collections.abc import Mapping

_SMALL = struct.Struct(">4siiiiiiiBiiiH16s")
_BIG = struct.Struct(">4siiqqiiiBiqiH16s")


def file_uuid(path):
    """The UUID in a TFile's header as text; None when there is none to read."""
    try:
        with open(path, "rb") as f:
            head = f.read(_BIG.size)
    except OSError:
        return None
    if len(head) < _BIG.size or head[:4] != b"root":
        return None
    is_big = struct.unpack_from(">i", head, 4)[0] >= 1_000_000
    fields = (_BIG if is_big else _SMALL).unpack_from(head)
    return str(uuidlib.UUID(bytes=fields[-1]))


def local_path(name):
    """A path of a local file from what users write ("x.root:Events", "file:///x.root"), or None."""
    if not isinstance(name, (str, os.PathLike)):
        return None
    name = os.fspath(name)
    if not isinstance(name, str):
        return None
    if name.startswith("file:"):
        name = name.removeprefix("file://") if name.startswith("file://") else name[5:]
    if "://" in name:
        return None
    if ":" in name and not os.path.exists(name):
        head = name.rsplit(":", 1)[0]
        if os.path.exists(head):
            name = head
    return os.path.abspath(name)


def paths_in(files):
    """Every path in a path, a list, a ``{path: tree}`` or a coffea fileset, in order."""
    if files is None:
        return
    if isinstance(files, (str, os.PathLike)):
        path = local_path(files)
        if path is not None:
            yield path
    elif isinstance(files, Mapping):
        for name, value in files.items():
            if isinstance(value, Mapping) and "files" in value:  # a dataset
                yield from paths_in(value["files"])
            elif isinstance(value, (list, tuple, set)):  # a dataset in the old style
                yield from paths_in(value)
            elif hasattr(value, "files"):  # coffea's DatasetSpec
                yield from paths_in(value.files)
            else:
                yield from paths_in(name)
    else:
        for item in files:
            yield from paths_in(item)


def _same_file(a, b):
    try:
        return a == b or os.path.samefile(a, b)
    except OSError:
        return False


class Files:
    """The paths this process was told of; safe from all threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._seen = set()
        self._unread = {}  # an ordered set of paths
        self._by_uuid = {}
        self._ambiguous = set()
        self.version = 0  # grows when a UUID stops meaning what it meant

    def add(self, files):
        """Files in any of the forms of ``paths_in``; returns their paths."""
        paths = tuple(paths_in(files))
        with self._lock:
            for path in paths:
                if path not in self._seen:
                    self._seen.add(path)
                    self._unread[path] = None
        return paths

    def add_known(self, uuid, path):
        """A file whose UUID somebody has read. (Whoever opens it checks again.)"""
        path = local_path(path)
        if path is not None and os.path.exists(path):
            with self._lock:
                self._learn(uuid, path)

    def find(self, uuid):
        """The path of that UUID, or None."""
        with self._lock:
            while uuid not in self._by_uuid and self._unread:
                path = next(iter(self._unread))
                del self._unread[path]
                found = file_uuid(path)
                if found is not None:
                    self._learn(found, path)
            return None if uuid in self._ambiguous else self._by_uuid.get(uuid)

    def _learn(self, uuid, path):
        known = self._by_uuid.setdefault(uuid, path)
        if _same_file(known, path):
            return
        self.version += 1
        if os.path.exists(known) and file_uuid(known) == uuid:
            self._ambiguous.add(uuid)
        else:
            self._by_uuid[uuid] = path

    def after_fork(self):
        self._lock = threading.Lock()


#: of this process
files = Files()
