"""What bufferd knows of coffea's and awkward's insides, in one place.

Nothing here imports coffea: events bring it along.
"""

from __future__ import annotations

import sys


def factory_of(events):
    """The NanoEventsFactory that made the events.

    TypeError for what is no ``ak.Array``; ValueError when it was not made by coffea in virtual mode.
    """
    ak = sys.modules.get("awkward")
    if ak is None or not isinstance(events, ak.Array):
        raise TypeError(f"expected an ak.Array of events, not {type(events).__name__}")
    factory = (events.attrs or {}).get("@events_factory")
    if factory is None:
        raise ValueError("these events were not made by coffea's NanoEventsFactory")
    if getattr(factory, "_mode", None) != "virtual":
        raise ValueError("these events are not virtual: use mode='virtual'")
    return factory


def files_of(factory):
    """Pairs (uuid, path) of the files behind a factory."""
    opener = getattr(factory._mapping, "_fileopener", None)
    return list(getattr(opener, "_uuid_pfnmap", {}).items())


def buffer_keys(*arrays):
    """The buffer keys of arrays in their order, without reading data.

    TypeError for what is no ``ak.Array``. (Offsets that a record needs to know its length have been
    read when the array was named; they are among the keys.)
    """
    import awkward as ak

    keys = {}
    for array in arrays:
        if not isinstance(array, ak.Array):
            raise TypeError(f"expected ak.Array, not {type(array).__name__}")
        _, _, buffers = ak.to_buffers(array)
        for buffer in buffers.values():
            key = getattr(buffer, "buffer_key", None)
            if key is not None:
                keys[key] = None
    return list(keys)
