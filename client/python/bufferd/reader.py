"""``bufferd.open(path)[tree].arrays(...)``: in uproot's manner, over shared pages.

Columns that the daemon reads become awkward layouts around its memory without a copy; all of them
are asked for in one call. What it does not read comes through uproot in this process and is shared
as what uproot made of it. Without a daemon all of it comes through uproot. The arrays have uproot's
types and values either way.
"""

from __future__ import annotations

import json
import os

import numpy as np

from . import _bufferd, keys
from .connection import log
from .errors import Error
from .files import file_uuid, known_files, local_path
from .node import node

_UINT8 = _bufferd.ITEM_TYPES["|u1"]


def open(path, socket=None):
    """A ROOT file. `path` is a local one; anything else is read through uproot."""
    return File(path, socket)


class File:
    """Trees of a file by name, with or without cycle and directories: ``file["dir/Events"]``."""

    def __init__(self, path, socket=None):
        self.path = local_path(path)
        self._name = os.fspath(path)
        if self.path is not None and not os.path.exists(self.path):
            raise FileNotFoundError(self.path)
        self.uuid = file_uuid(self.path) if self.path is not None else None
        if self.uuid is not None:
            known_files.add_known(self.uuid, self.path)
        self._node = node(socket)
        self._uproot = None

    def __repr__(self):
        return f"<bufferd.File {self._name!r}>"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Close what uproot has open. Arrays stay valid."""
        if self._uproot is not None:
            self._uproot.close()
            self._uproot = None

    def ask(self, call, *args):
        """``call(connection, source, *args)``; None when the daemon cannot answer."""
        connection = self._node.connection() if self.path is not None else None
        if connection is None:
            return None
        try:
            return call(connection, connection.source(self.path, self.uuid), *args)
        except Error as e:
            if e.name == "gone":
                self._node.lost(connection, e)
            elif e.name in ("need-fd", "no-source", "changed"):
                connection.forget(self.path)
            log.debug("%s: %s", self._name, e)
            return None

    def in_process(self):
        """The file as uproot opens it."""
        if self._uproot is None:
            import uproot

            self._uproot = uproot.open(self.path or self._name)
        return self._uproot

    def keys(self):
        """Paths of the trees, with cycles."""
        rows = self.ask(lambda connection, source: connection.session.trees(source.source_id))
        if rows is not None:
            return [path for path, *_ in rows]
        classes = self.in_process().classnames()
        return [name for name, kind in classes.items() if kind in _TREE_CLASSES]

    def __iter__(self):
        return iter(self.keys())

    def __contains__(self, name):
        try:
            self[name]
        except KeyError:
            return False
        return True

    def __getitem__(self, name):
        name = name.strip("/")
        index = self.ask(lambda connection, source: connection.tree(source, name))
        if index is not None:
            return Tree(self, index.path, index)
        tree = self.in_process()[name]
        if not hasattr(tree, "arrays"):
            raise KeyError(f"{name!r} is no tree")
        return Tree(self, name, None)


_TREE_CLASSES = frozenset(("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple"))


class Tree:
    """A TTree or RNTuple."""

    def __init__(self, file, path, index):
        self._file, self.path, self._index = file, path, index
        self._fields_of_all = None

    def __repr__(self):
        return f"<bufferd.Tree {self.path!r} of {self._file._name!r}>"

    def _uproot(self):
        return self._file.in_process()[self.path]

    @property
    def num_entries(self):
        return self._index.n_entries if self._index else self._uproot().num_entries

    def __len__(self):
        return self.num_entries

    def keys(self):
        """Full paths of all branches."""
        return list(self._branches()) if self._index else self._uproot().keys()

    def typenames(self):
        """Branch to type as C++ names it."""
        if self._index is None:
            return self._uproot().typenames()
        return {name: c.type_name for name, c in self._branches().items()}

    def _branches(self):
        return {name: c for name, c in self._index.columns.items() if not c.is_member}

    def arrays(self, expressions=None, entry_start=None, entry_stop=None, library="ak"):
        """Columns of the entries ``[entry_start, entry_stop)``.

        Parameters
        ----------
        expressions : str, list of str, or None
            Branch names; None for all. (Anything else that uproot understands is computed by uproot.)
        entry_start, entry_stop : int, optional
            As in uproot: negative counts from the end.
        library : "ak" or "np"
            An ``ak.Array`` of records, or a dict of ndarrays (jagged ones of dtype object).
        """
        if library not in ("ak", "np"):
            raise ValueError("library must be 'ak' or 'np'")
        start, stop = _entry_range(entry_start, entry_stop, self.num_entries)
        fields = self._fields(expressions)
        if library == "np" and fields:
            fields = {n: c if c and _is_numpy_like(c) else None for n, c in fields.items()}
        if fields is None:
            return self._uproot().arrays(
                expressions, entry_start=start, entry_stop=stop, library=library
            )
        parts = self._file.ask(self._native, fields, start, stop) or {}
        for name in fields:
            if name not in parts:
                parts[name] = self._from_uproot(name, start, stop, library)
        parts = {name: parts[name] for name in fields}
        return _as_numpy(parts) if library == "np" else _as_awkward(parts, stop - start)

    # ---- which columns ----

    def _fields(self, expressions):
        """Names of the result's fields, with the columns that the daemon reads, else None for each.
        None: it takes uproot to say."""
        if self._index is None:
            return None
        if expressions is None:
            return self._all_fields()
        if isinstance(expressions, str):
            expressions = [expressions]
        fields = {}
        for name in expressions:
            column = self._column(name) if isinstance(name, str) else None
            if column is None:
                return None
            fields[name] = column if self._is_native(column) else None
        return fields

    def _is_native(self, column):
        return column.is_native(self._index) and column.shape is not None

    def _is_plain(self, column):
        """Native, and a field of uproot's as well, where a record is one field."""
        return self._is_native(column) and not column.is_member

    def _column(self, name):
        column = self._index.columns.get(name)
        if column is not None:
            return column
        for path, column in self._index.columns.items():
            if path.rpartition("/")[2] == name:
                return column
        return None

    def _all_fields(self):
        if self._fields_of_all is None:
            self._fields_of_all = self._find_all_fields()
        return self._fields_of_all

    def _find_all_fields(self):
        columns = [c for c in self._index.columns.values() if c.has_data]
        fields = {c.name.rpartition("/")[2]: c for c in columns}
        if len(fields) == len(columns) and all(self._is_plain(c) for c in columns):
            return fields
        # uproot alone knows which of the others it can read, and under what name.
        names = self._uproot().arrays(entry_stop=0).fields
        for name in names:
            column = fields.get(name)
            if column is None or not self._is_plain(column):
                fields[name] = None
        return {name: fields[name] for name in names}

    # ---- from the daemon ----

    def _native(self, connection, source, fields, start, stop):
        """Name to (column, values, offsets of each level) of what the daemon made."""
        if source.source_id != self._index.source_id:
            raise Error(0, "changed", f"{self._file.path} was changed after this tree was opened")
        keys_of = {}
        for name, column in fields.items():
            texts = self._column_keys(source, column, start, stop) if column else None
            if texts is not None:
                keys_of[name] = texts
        texts = list(dict.fromkeys(text for texts in keys_of.values() for text in texts))
        if not texts:
            return {}
        results, _ = connection.session.materialize(texts)
        arrays = {}
        for text, result in zip(texts, results, strict=True):
            if isinstance(result, Error):
                log.debug("%s: %s", text, result)
            else:
                arrays[text] = result.array()
        parts = {}
        for name, texts in keys_of.items():
            values, *offsets = map(arrays.get, texts)
            if _is_whole(values, offsets, fields[name], stop - start):
                parts[name] = fields[name], values, offsets
        return parts

    def _column_keys(self, source, column, start, stop):
        def text(branch, verb):
            return _bufferd.key_column(
                source.source_id, self._index.path, start, stop, branch, verb
            )

        texts = [text(column.name, _bufferd.DATA)]
        for level in range(column.depth):
            texts.append(text(column.counter or column.name, _bufferd.OFFSETS + level))
        return None if None in texts else texts

    # ---- from uproot, shared ----

    def _from_uproot(self, name, start, stop, library):
        if library == "np":
            array = self._uproot()[name].array(entry_start=start, entry_stop=stop, library="np")
            return None, array, []
        import awkward as ak

        shared_as = "/".join(
            (keys.makers("uproot", "awkward"), self.path, f"{start}-{stop}", name)
        )
        array = self._file.ask(_get_shared, shared_as)
        if array is None:
            array = self._uproot()[name].array(entry_start=start, entry_stop=stop)
            array = ak.Array(ak.to_packed(array).layout)
            self._file.ask(_put_shared, shared_as, array)
        return array


def _entry_range(start, stop, n):
    start = 0 if start is None else start + n if start < 0 else start
    stop = n if stop is None else stop + n if stop < 0 else stop
    start = min(max(start, 0), n)
    return start, min(max(stop, start), n)


def _is_numpy_like(column):
    """Does uproot make NumPy arrays of its entries, and not other objects?"""
    return column.depth < 2 and not column.is_string and not column.type_name.startswith(
        ("std::set<", "std::list<")
    )


def _is_whole(values, offsets, column, n):
    """Do the arrays fit together?"""
    if values is None or any(each is None for each in offsets):
        return False
    if _bufferd.ITEM_TYPES.get(values.dtype.str) != column.item_type:
        return False
    for each in offsets:
        if len(each) != n + 1 or each[0] != 0:
            return False
        n = each[-1]
    return len(values) == n * column.n_per_entry


def _as_layout(column, values, offsets):
    import awkward as ak

    if column is not None and column.shape:
        values = values.reshape((-1, *column.shape))
    is_string = column is not None and column.is_string
    parameters = {"__array__": "char"} if is_string else None
    layout = ak.contents.NumpyArray(values, parameters=parameters)
    names = (["string"] if is_string else []) + _list_names(column)[::-1][is_string:]
    for each, name in zip(reversed(offsets), names, strict=True):
        parameters = {"__array__": name} if name else None
        layout = ak.contents.ListOffsetArray(ak.index.Index64(each), layout, parameters=parameters)
    return layout


def _list_names(column):
    """What awkward calls the lists of each level, the outermost first; None: nothing."""
    names, text = [], column.type_name if column is not None else ""
    for _ in range(column.depth if column is not None else 0):
        names.append("set" if text.startswith("std::set<") else None)
        text = text.partition("<")[2]
    return names


def _as_awkward(parts, length):
    import awkward as ak

    contents = [
        _as_layout(*part) if isinstance(part, tuple) else part.layout for part in parts.values()
    ]
    return ak.Array(ak.contents.RecordArray(contents, list(parts), length=length))


def _as_numpy(parts):
    out = {}
    for name, (column, values, offsets) in parts.items():
        if column is not None and column.shape:
            values = values.reshape((-1, *column.shape))
        if not offsets:
            out[name] = values
            continue
        (ends,) = offsets
        lists = out[name] = np.empty(len(ends) - 1, dtype=object)
        for i in range(len(lists)):
            lists[i] = values[ends[i] : ends[i + 1]]
    return out


# An awkward array is shared as its buffers, and after them, under `<name>/form`, its form and length
# as JSON: whoever finds the form finds the rest, or makes all of it again.


def _get_shared(connection, source, name):
    import awkward as ak

    key = connection.derived_key(source, f"{name}/form")
    (found,) = connection.session.get((key,))
    if isinstance(found, Error):
        return None
    described = json.loads(bytes(found))
    names = described["buffers"]
    texts = [connection.derived_key(source, f"{name}/{each}") for each in names]
    views = connection.session.get(texts) if texts else []
    if any(isinstance(view, Error) for view in views):
        return None
    buffers = {each: view.array() for each, view in zip(names, views, strict=True)}
    form = ak.forms.from_dict(described["form"])
    return ak.from_buffers(form, described["length"], buffers, buffer_key="{form_key}-{attribute}")


def _put_shared(connection, source, name, array):
    import awkward as ak

    form, length, buffers = ak.to_buffers(array, buffer_key="{form_key}-{attribute}")
    buffers = {each: np.ascontiguousarray(buffer) for each, buffer in buffers.items()}
    types = {each: _bufferd.ITEM_TYPES.get(b.dtype.str) for each, b in buffers.items()}
    if any(t is None for t in types.values()):
        return
    for each, buffer in buffers.items():
        key = connection.derived_key(source, f"{name}/{each}")
        connection.session.put(key, buffer, types[each])
    described = {"form": form.to_dict(), "length": length, "buffers": list(buffers)}
    data = json.dumps(described).encode()
    connection.session.put(connection.derived_key(source, f"{name}/form"), data, _UINT8)
