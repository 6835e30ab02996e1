"""BufferManager: say which arrays will be needed, and which are no longer."""

from __future__ import annotations

from . import coffea
from .cache import BufferCache
from .errors import Error

_MAX_KEYS = 1024  # of one scope


class Prefetch:
    """Columns that the daemon loads in the background; a context manager.

    Leaving it cancels what has not been loaded by then: it will not be needed any more.
    """

    def __init__(self, cache, keys, nthreads):
        self._cache, self._keys, self._nthreads = cache, keys, nthreads
        self._session, self._scopes = None, []

    def __enter__(self):
        self._cache._ask(self._start)
        return self

    def __exit__(self, *exc):
        self.cancel()

    def _start(self, plans):
        each = (plans.plan(key) for key in self._keys)
        texts = list(dict.fromkeys(p.key for p in each if p is not None and p.is_native))
        self._session = plans.session
        for at in range(0, len(texts), _MAX_KEYS):
            scope = self._session.prefetch(texts[at : at + _MAX_KEYS], self._nthreads)
            self._scopes.append(scope)

    def _each(self, call):
        """The scopes' figures, summed. Without a daemon they are 0."""
        total = {"n_total": 0, "n_ready": 0, "n_failed": 0, "bytes_ready": 0, "failures": []}
        for scope in self._scopes:
            try:
                one = call(scope)
            except Error as e:
                if e.name != "timeout":
                    continue
                one = self._session.scope_status(scope)
            for name, value in one.items():
                if name == "failures":
                    total[name] += [error for _, error in value]
                else:
                    total[name] += value
        return total

    def status(self):
        """``n_total``, ``n_ready``, ``n_failed``, ``bytes_ready`` and ``failures`` (Errors)."""
        return self._each(lambda s: self._session.scope_status(s))

    def wait(self, timeout=None):
        """Until all is loaded or has failed; answers like ``status()``."""
        return self._each(lambda s: self._session.scope_wait(s, timeout=timeout))

    def cancel(self):
        """Load no more of it; answers like ``status()``."""
        out = self._each(lambda s: self._session.scope_cancel(s))
        self._scopes = []
        return out


class BufferManager:
    """The buffers of ``events``, which coffea made with a ``BufferCache``.

    TypeError when ``events`` is no ``ak.Array``; ValueError when they are not virtual or have no
    ``BufferCache``. Making one tells the cache where the events' file is.
    """

    def __init__(self, events):
        factory = coffea.factory_of(events)
        cache = factory.buffer_cache
        if not isinstance(cache, BufferCache):
            raise ValueError("these events have no bufferd.BufferCache as their buffer_cache")
        for uuid, path in coffea.files_of(factory):
            cache.add_file(path, uuid)
        self._cache = cache

    def clear(self, *arrays):
        """Done with these arrays' buffers; returns a ``Cleared``. They can be used again: that
        loads them again."""
        return self._cache.discard(coffea.buffer_keys(*arrays))

    def prefetch(self, *arrays, nthreads=1):
        """``with manager.prefetch(events.Jet.pt, events.MET.pt):`` load in the background, in this
        order, with at most `nthreads` workers of the daemon at once. What only coffea can make is
        left out."""
        if nthreads <= 0:
            raise ValueError("nthreads must be positive")
        return Prefetch(self._cache, coffea.buffer_keys(*arrays), nthreads)
