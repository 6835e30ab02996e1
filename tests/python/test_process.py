"""Threads, forks, other processes, and a daemon that stops or comes back."""

import concurrent.futures
import multiprocessing
import os
import pickle
import signal
import threading
import time

import nano
import numpy as np
import pytest
from support import connection, figures, key, offset_of

import bufferd

N = nano.N_ENTRIES


@pytest.fixture
def met(nano_file):
    return key(nano_file, "MET_pt,!load", 0, N)


def in_child(work):
    """What `work()` returns, or its exception, in a child made by os.fork."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            out = work()
        except BaseException as e:
            out = e
        with os.fdopen(writer, "wb") as f:
            pickle.dump(out, f)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as f:
        out = pickle.load(f)
    os.waitpid(pid, 0)
    if isinstance(out, BaseException):
        raise out
    return out


# ---- fork ----


def test_a_child_has_a_session_of_its_own(daemon, nano_file, met):
    cache = bufferd.BufferCache(nano_file)
    array = cache[met]
    before = figures()["sessions_opened"]

    def work():
        assert connection().session.mine
        assert cache[met].tobytes() == array.tobytes()
        return offset_of(cache[met])

    assert in_child(work) == offset_of(array)
    assert figures()["sessions_opened"] > before
    assert np.shares_memory(cache[met], array)


def test_a_childs_end_does_not_unpin_the_parents_arrays(daemon, nano_file, met):
    cache = bufferd.BufferCache(nano_file)
    array = cache[met]
    before = array.copy()

    def work():
        nonlocal array
        del array
        cache[met]

    in_child(work)
    connection().session.evict("*")
    assert (array == before).all()
    assert connection().session.ls("*MET_pt*")[0]["pins"] >= 1


def test_a_childs_array_stays_when_the_parent_lets_go(daemon, nano_file, met):
    cache = bufferd.BufferCache(nano_file)
    held = [cache[met]]
    before = held[0].copy()
    parent_reader, parent_writer = os.pipe()
    child_reader, child_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(child_reader, 1)
        os._exit(0 if (held[0] == before).all() else 1)
    held.clear()
    connection().session.evict("*")
    bufferd.open(nano_file)["Events"].arrays()
    os.write(child_writer, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    for fd in (parent_reader, parent_writer, child_reader, child_writer):
        os.close(fd)


def test_fork_from_a_thread_while_others_work(daemon, nano_file):
    cache = bufferd.BufferCache(nano_file)
    names = [key(nano_file, f"{b},!load", 0, N) for b in ("MET_pt", "MET_phi", "event", "run")]
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            for name in names:
                cache[name]
            cache.discard(names)

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert in_child(lambda: len(cache[names[0]])) == N
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(daemon, nano_file, met, method):
    cache = bufferd.BufferCache(nano_file)
    expected = float(cache[met].sum())
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        assert list(pool.map(sum_of, [cache] * 4, [met] * 4)) == [expected] * 4


def sum_of(cache, name):
    return float(cache[name].sum())


# ---- threads ----


def test_many_threads_on_one_cache(daemon, fresh_file):
    cache = bufferd.BufferCache(fresh_file)
    names = [
        key(fresh_file, f"{branch},!load", start, start + 500)
        for branch in ("MET_pt", "MET_phi", "event", "run", "genWeight")
        for start in range(0, 1500, 250)
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(cache.__getitem__, names * 20))
    for name, array in zip(names * 20, arrays, strict=True):
        assert np.shares_memory(array, arrays[names.index(name)])


def test_hits_and_evictions_at_once(daemon, nano_file):
    cache = bufferd.BufferCache(nano_file)
    names = [key(nano_file, f"{b},!load", 0, N) for b in ("MET_pt", "MET_phi", "event", "run")]
    expected = {name: cache[name].copy() for name in names}
    stop = time.monotonic() + 2
    wrong = []

    def reading():
        while time.monotonic() < stop:
            for name in names:
                if not np.array_equal(cache[name], expected[name]):
                    wrong.append(name)

    def evicting():
        session = connection().session
        while time.monotonic() < stop:
            session.evict("*")

    threads = [threading.Thread(target=t) for t in (reading, reading, evicting)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class Counter(threading.Thread):
    """Counts as long as it can; it cannot while somebody keeps the GIL."""

    def __init__(self):
        super().__init__(daemon=True)
        self.gaps, self.stop = [], False

    def run(self):
        last = time.monotonic()
        while not self.stop:
            time.sleep(0.001)
            now = time.monotonic()
            self.gaps.append(now - last)
            last = now


def test_a_stopped_daemon_costs_one_deadline_and_not_the_gil(own_daemon, nano_file, met):
    daemon = own_daemon()
    cache = bufferd.BufferCache(nano_file)
    other = key(nano_file, "MET_phi,!load", 0, N)
    held = cache[met]
    daemon.signal(signal.SIGSTOP)
    counter = Counter()
    counter.start()
    began = time.monotonic()
    with pytest.warns(RuntimeWarning, match="bufferd"):
        assert cache.get(other) is None
    spent = time.monotonic() - began
    counter.stop = True
    counter.join()
    assert 3 < spent < 9
    assert max(counter.gaps) < 2
    began = time.monotonic()
    cache[other] = np.arange(3.0)
    assert len(cache[other]) == 3
    assert cache[met].tobytes() == held.tobytes()  # a hit asks nobody
    assert time.monotonic() - began < 1
    daemon.signal(signal.SIGCONT)


# ---- a daemon that comes back ----


def test_reconnecting_is_silent_and_forgets_the_old_numbers(own_daemon, nano_file, met, recwarn):
    daemon = own_daemon()
    cache = bufferd.BufferCache(nano_file)
    other = key(nano_file, "genWeight,!load", 0, N)
    old = cache[met].copy()
    held = cache[met]
    daemon.kill()
    assert cache.get(other) is None
    os.path.exists(daemon.socket) and os.unlink(daemon.socket)
    daemon.start()
    assert cache.get(other) is None  # not yet: it is not asked at every key
    bufferd.node.node()._retry_at = time.monotonic()
    assert len(cache[other]) == N  # makes the first record of the new daemon
    assert np.array_equal(cache[met], old)
    assert np.array_equal(held, old)
    assert bufferd.status()["buffers_made"] >= 2
    assert len([w for w in recwarn if "bufferd" in str(w.message)]) == 1


def test_waiting_grows_with_failure(no_daemon, monkeypatch):
    node = bufferd.node.node()
    with pytest.warns(RuntimeWarning):
        assert node.connection() is None
    first = node._retry_at - time.monotonic()
    assert 4 < first < 6
    node._retry_at = time.monotonic()
    assert node.connection() is None
    assert node._retry_at - time.monotonic() > 1.5 * first
