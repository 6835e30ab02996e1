"""Which file has which UUID.

coffea's keys name a file by its UUID alone. Paths come from the user (``BufferCache(files)``), from
events (``BufferManager(events)``) and from ``bufferd.open``. The headers of a list of files are read
when the first key asks, once per process. All of them: a UUID that two different files carry (a
copy that was updated keeps it) names neither, and its keys are not answered from a file.
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


_headers = {}  # path: (its signature, UUID), of this process


def signature(path):
    """Which state of which file is at a path now; None: there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _header(path, is_trusted):
    """The UUID of a path; what was read before is good enough when `is_trusted`."""
    known = _headers.get(path)
    if known is not None and (is_trusted or known[0] == signature(path)):
        return known[1]
    seen, uuid = signature(path), file_uuid(path)
    _headers[path] = seen, uuid
    return uuid


def _same_file(a, b):
    try:
        return a == b or os.path.samefile(a, b)
    except OSError:
        return False


class Files:
    """Paths that somebody was told of; what is not among them is looked for in `parent`. Safe from
    all threads."""

    def __init__(self, parent=None):
        self._parent = parent
        self._paths = {}  # an ordered set
        self._n_read = 0  # paths whose headers were read
        self._is_checked = False  # ... and were compared with what is there now
        self._by_uuid = {}
        self._ambiguous = set()
        self._version = 0
        self.after_fork()

    def after_fork(self):
        self._lock = threading.Lock()

    @property
    def version(self):
        """Changes when a UUID no longer means what it meant."""
        return self._version + (self._parent.version if self._parent else 0)

    def paths(self):
        with self._lock:
            return tuple(self._paths)

    def add(self, files):
        """Files in any of the forms of ``paths_in``."""
        paths = dict.fromkeys(paths_in(files))
        with self._lock:
            self._paths.update(paths)
            self._is_checked = False

    def add_known(self, uuid, path):
        """A file whose UUID somebody has read. (Whoever opens it checks again.)"""
        path = local_path(path)
        if path is not None and os.path.exists(path):
            with self._lock:
                self._learn(uuid, path)

    def find(self, uuid):
        """The path of that UUID, or None."""
        with self._lock:
            if self._n_read < len(self._paths):
                self._read(list(self._paths)[self._n_read :], is_trusted=True)
                self._n_read = len(self._paths)
            if uuid not in self._by_uuid and not self._is_checked:
                self._is_checked = True
                self._read(self._paths, is_trusted=False)
            if uuid in self._ambiguous:
                return None
            path = self._by_uuid.get(uuid)
        return self._parent.find(uuid) if path is None and self._parent else path

    def _read(self, paths, is_trusted):
        for path in paths:
            uuid = _header(path, is_trusted)
            if uuid is not None:
                self._learn(uuid, path)

    def _learn(self, uuid, path):
        known = self._by_uuid.setdefault(uuid, path)
        if known == path or _same_file(known, path):
            return
        self._version += 1
        if _header(known, is_trusted=False) == uuid:
            self._ambiguous.add(uuid)
        else:
            self._by_uuid[uuid] = path


#: what this process knows without having said for which cache
known_files = Files()
