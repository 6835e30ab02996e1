"""coffea's buffer keys: what each asks for.

A key is ``uuid/treepath/start-stop/attribute/form-key``, every part percent-quoted. The form key is
a small stack program (``Jet_pt,!load,!content``). Four programs are answered from columns; anything
else is named, so that what coffea makes of it can be shared.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from typing import NamedTuple
from urllib.parse import unquote

#: what a program takes of its branch
VALUES, OFFSETS, COUNTS = "values", "offsets", "counts"

_COUNTS = "!load,!counts2offsets,!skip,!offsets"
_MAX_DEPTH = 3


class CoffeaKey(NamedTuple):
    uuid: str
    tree: str  #: as uproot's object_path says, without the leading slash
    start: int
    stop: int
    attribute: str  #: awkward's buffer attribute, "data" or "offsets"
    form: str  #: unquoted

    def program(self):
        """(what, depth, branch, field) of a program that columns answer, else None: the values
        below `depth` lists (of a member of the records there), or the offsets of the lists there.
        """
        branch, _, rest = self.form.partition(",")
        if not branch or branch.startswith("!"):
            return None
        if self.attribute == "offsets" and rest == _COUNTS:
            return COUNTS, 0, branch, None
        op, *ops = rest.split(",")
        if op != "!load":
            return None
        depth = 0
        while ops and ops[0] == "!content" and depth < _MAX_DEPTH:
            depth += 1
            ops.pop(0)
        if self.attribute == "offsets":
            return (OFFSETS, depth, branch, None) if ops == ["!offsets"] else None
        if self.attribute != "data" or not ops:
            return (VALUES, depth, branch, None) if self.attribute == "data" else None
        if len(ops) == 2 and ops[1] == "!item" and not ops[0].startswith("!"):
            return VALUES, depth, branch, ops[0]
        return None


def parse(key):
    """The parts of a coffea key, or None for any other text."""
    if not isinstance(key, str):
        return None
    parts = key.split("/")
    if len(parts) != 5:
        return None
    uuid, tree, entries, attribute, form = map(unquote, parts)
    start, _, stop = entries.partition("-")
    if not (start.isdecimal() and stop.isdecimal()) or int(start) > int(stop):
        return None
    return CoffeaKey(uuid.lower(), tree.lstrip("/"), int(start), int(stop), attribute, form)


_versions = {}


def version(package):
    """The version of an installed package; "0" when there is none."""
    if package not in _versions:
        try:
            module = sys.modules.get(package)
            _versions[package] = str(
                getattr(module, "__version__", None) or importlib.metadata.version(package)
            )
        except importlib.metadata.PackageNotFoundError:
            _versions[package] = "0"
    return _versions[package]


def makers(*packages):
    """Whose code made an array: part of its name, because another version may make another."""
    return ",".join(f"{p}-{version(p)}" for p in packages)


def derived_name(key):
    """The name under which what coffea makes of this key is shared."""
    return "/".join(
        (
            makers("coffea", "uproot", "awkward"),
            key.tree,
            f"{key.start}-{key.stop}",
            key.attribute,
            key.form,
        )
    )


def shortened(name):
    """A name of bounded length for one that does not fit into a key."""
    return f"{name[:64]}/sha256-{hashlib.sha256(name.encode()).hexdigest()}"
