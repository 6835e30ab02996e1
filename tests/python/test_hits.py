"""Hits without the daemon: buffers that another process had made, in this process's first touch and
after they were made anew; and that hits make no system call."""

import os
import pathlib
import shutil
import signal
import sys

import nano
import pytest
from conftest import run_python
from support import connection, figures, key

import bufferd

N = nano.N_ENTRIES
BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench"

MAKER = """
    import json, sys
    import bufferd
    path, *names = sys.argv[1:]
    cache = bufferd.BufferCache(path)
    arrays = [cache[name] for name in names]
    print(json.dumps([a.tobytes().hex() for a in arrays]))
"""


@pytest.fixture
def names(nano_file):
    forms = ("MET_pt,!load", "event,!load", "Jet_pt,!load,!content")
    offsets = key(nano_file, "Jet_pt,!load,!offsets", 0, N, "offsets")
    return [*(key(nano_file, form, 0, N) for form in forms), offsets]


def made_elsewhere(path, names):
    return [bytes.fromhex(text) for text in run_python(MAKER, path, *names)]


def touch_tree(cache, path):
    """The file and the tree are known from here on."""
    assert cache[key(path, "run,!load", 0, 10)] is not None


def test_the_first_touch_of_anothers_buffer_asks_nobody(daemon, nano_file, names):
    expected = made_elsewhere(nano_file, names)
    cache = bufferd.BufferCache(nano_file)
    touch_tree(cache, nano_file)
    before = figures()["requests"]
    assert [cache[name].tobytes() for name in names] == expected
    assert names[0] in cache
    assert figures()["requests"] == before + 1  # the figures


def test_what_was_evicted_and_made_again_elsewhere_is_found(daemon, nano_file, names):
    cache = bufferd.BufferCache(nano_file)
    first = [cache[name].copy() for name in names]
    connection().session.trim()
    connection().session.evict("*")
    assert all(cache._peek(name) is None for name in names)
    assert [a.tobytes() for a in first] == made_elsewhere(nano_file, names)
    before = figures()["requests"]
    for name, array in zip(names, first, strict=True):
        found = cache[name]
        assert found.tobytes() == array.tobytes() and found.dtype == array.dtype
    assert figures()["requests"] == before + 1


def test_anothers_buffers_are_found_while_the_daemon_is_stopped(own_daemon, nano_file, names):
    daemon = own_daemon()
    expected = made_elsewhere(nano_file, names)
    cache = bufferd.BufferCache(nano_file)
    touch_tree(cache, nano_file)
    daemon.signal(signal.SIGSTOP)
    assert [cache[name].tobytes() for name in names] == expected
    daemon.signal(signal.SIGCONT)


def test_what_coffea_made_elsewhere_is_found(daemon, nano_file):
    name = key(nano_file, "MET_pt,!load,!some,!transform", 0, N)
    code = """
        import json, sys
        import numpy as np
        import bufferd
        cache = bufferd.BufferCache(sys.argv[1])
        cache[sys.argv[2]] = np.arange(5, dtype="i4")
        print("true")
    """
    assert run_python(code, nano_file, name)
    cache = bufferd.BufferCache(nano_file)
    touch_tree(cache, nano_file)
    before = figures()["requests"]
    assert cache[name].tolist() == [0, 1, 2, 3, 4]
    assert figures()["requests"] == before + 1


def test_what_was_found_is_pinned(daemon, nano_file, names):
    made_elsewhere(nano_file, names)
    cache = bufferd.BufferCache(nano_file)
    touch_tree(cache, nano_file)
    array = cache[names[0]]
    before = array.copy()
    connection().session.evict("*")
    assert cache._peek(names[0]) is not None
    assert (array == before).all()
    del array
    connection().session.evict("*")
    assert cache._peek(names[0]) is None


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
def test_hits_make_no_system_call(daemon, nano_file, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import hits

    env = dict(os.environ, BUFFERD_SOCKET=daemon.socket)
    calls = hits.system_calls(nano_file, 300, env)
    if calls is None:
        pytest.skip(f"strace does not run here, {sys.executable}")
    assert calls == 0
