"""BufferCache as a mapping."""

import gc
import logging
import os
import pickle
import shutil
import time
import weakref

import awkward as ak
import nano
import numpy as np
import pytest
import uproot
from support import connection, figures, key, offset_of, same

import bufferd

N = nano.N_ENTRIES


@pytest.fixture
def cache(daemon, nano_file):
    return bufferd.BufferCache(nano_file)


@pytest.fixture
def met(nano_file):
    return key(nano_file, "MET_pt,!load", 0, N)


@pytest.fixture
def other(nano_file):
    """A key of which only coffea knows what it means."""
    return key(nano_file, "MET_pt,!load,!something", 10, 20)


# ---- nothing there ----


@pytest.mark.parametrize(
    "bad",
    ["", "x", "a/b/0-1/data/c", "00000000-0000-0000-0000-000000000000/Events;1/0-5/data/x%2C%21load"],
)
def test_a_key_that_is_not_there(cache, bad):
    assert cache.get(bad) is None
    assert cache.get(bad, 7) == 7
    assert bad not in cache
    with pytest.raises(KeyError):
        cache[bad]
    with pytest.raises(KeyError):
        del cache[bad]
    with pytest.raises(KeyError):
        cache.pop(bad)
    assert cache.pop(bad, 8) == 8


def test_unhashable_keys_are_type_errors(cache):
    with pytest.raises(TypeError):
        cache.get([])


@pytest.mark.parametrize(
    "form",
    [
        "no_such_branch,!load",
        "Jet_pt,!load",  # jagged: not flat values
        "MET_pt,!load,!content",  # flat: no content
        "genWeight,!load,!counts2offsets,!skip,!offsets",  # no counter
    ],
)
def test_forms_that_do_not_fit_the_branch_are_misses(cache, nano_file, form):
    attribute = "offsets" if form.endswith("!offsets") else "data"
    assert cache.get(key(nano_file, form, 0, N, attribute)) is None


def test_a_range_beyond_the_tree_is_a_miss(cache, nano_file):
    assert cache.get(key(nano_file, "MET_pt,!load", 0, N + 1)) is None
    assert cache.get(key(nano_file, "MET_pt,!load", N, N + 1)) is None


# ---- native keys ----


def expected(path, form, start, stop):
    branch = uproot.open(path)["Events"][form.split(",")[0]]
    array = branch.array(entry_start=start, entry_stop=stop)
    flat = lambda x: np.ascontiguousarray(ak.to_numpy(x))  # noqa: E731
    if form.endswith("!content"):
        return flat(array.layout.to_ListOffsetArray64(True).content)
    if form.endswith("!load"):
        return flat(array)
    if "!counts2offsets" in form:
        return np.concatenate([[0], np.cumsum(flat(array))]).astype("i8")
    return np.asarray(array.layout.to_ListOffsetArray64(True).offsets.data)


@pytest.mark.parametrize("entries", [(0, N), (0, 0), (1, 2), (399, 401), (400, 800), (123, 1777)])
@pytest.mark.parametrize(
    "form",
    [
        "MET_pt,!load",
        "event,!load",
        "genWeight,!load",
        "HLT_IsoMu24,!load",
        "nJet,!load",
        "Jet_pt,!load,!content",
        "Jet_jetId,!load,!content",
        "Muon_tightId,!load,!content",
        "Muon_cleanmask,!load,!content",
        "Jet_pt,!load,!offsets",
        "nJet,!load,!counts2offsets,!skip,!offsets",
    ],
)
def test_native_buffers_are_what_uproot_reads(daemon, made_file, form, entries):
    cache = bufferd.BufferCache(made_file)
    attribute = "offsets" if form.endswith("!offsets") else "data"
    found = cache.get(key(made_file, form, *entries, attribute))
    if found is None and entries == (0, 0):
        pytest.skip("an empty range is left to coffea")
    assert same(found, expected(made_file, form, *entries))


def test_two_ways_to_ask_for_offsets_share_one_buffer(cache, nano_file):
    a = cache[key(nano_file, "Jet_pt,!load,!offsets", 0, N, "offsets")]
    b = cache[key(nano_file, "Jet_eta,!load,!offsets", 0, N, "offsets")]
    c = cache[key(nano_file, "nJet,!load,!counts2offsets,!skip,!offsets", 0, N, "offsets")]
    assert offset_of(a) == offset_of(b) == offset_of(c)


def test_a_second_get_asks_nobody(cache, met):
    first = cache[met]
    before = figures()["requests"]
    for _ in range(100):
        again = cache[met]
    assert figures()["requests"] - before <= 1  # the question itself
    assert np.shares_memory(first, again)


def test_arrays_are_read_only(cache, met):
    array = cache[met]
    assert not array.flags.writeable
    with pytest.raises(ValueError):
        array[0] = 1
    with pytest.raises(ValueError):
        array.flags.writeable = True
    with pytest.raises(ValueError):
        array[3:].flags.writeable = True
    with pytest.raises(TypeError):
        memoryview(array.base)[0] = 0


def test_get_of_a_known_key_ignores_the_default(cache, met):
    assert isinstance(cache.get(met, 7), np.ndarray)


# ---- weak hold ----


def entry_of(daemon_key_part):
    return [e for e in connection().session.ls() if daemon_key_part in e["key"]]


def test_the_cache_itself_pins_nothing(cache, met):
    array = cache[met]
    (entry,) = entry_of("MET_pt/data")
    assert entry["pins"] >= 1
    del array
    (entry,) = entry_of("MET_pt/data")
    assert entry["pins"] == 0
    assert connection().session.evict("*MET_pt*")["n_freed"] == 1
    assert same(cache[met], expected(cache._files.paths()[0], "MET_pt,!load", 0, N))


def test_slices_and_views_keep_the_memory(cache, met):
    part = cache[met][5:9].view("u4")[::2]
    before = part.copy()
    assert connection().session.evict("*")["n_held"] >= 1
    assert (part == before).all()
    del part
    gc.collect()
    assert connection().session.evict("*")["n_held"] == 0


def test_nothing_vanishes_between_in_and_get(cache, met):
    assert met in cache
    connection().session.evict("*")
    before = figures()["buffers_made"]
    assert cache[met] is not None
    assert figures()["buffers_made"] == before
    (entry,) = entry_of("MET_pt/data")
    assert entry["pins"] == 0


def test_in_holds_for_a_moment_only(cache, met, nano_file):
    assert met in cache
    time.sleep(1.1)
    cache.get(key(nano_file, "MET_phi,!load", 0, N))
    (entry,) = entry_of("MET_pt/data")
    assert entry["pins"] == 0


def test_arrays_outlive_cache_and_daemon(own_daemon, nano_file):
    daemon = own_daemon()
    cache = bufferd.BufferCache(nano_file)
    array = cache[key(nano_file, "MET_pt,!load", 0, N)]
    gone = weakref.ref(cache)
    del cache
    gc.collect()
    assert gone() is None
    daemon.kill()
    assert same(array, expected(nano_file, "MET_pt,!load", 0, N))


def test_no_leak_in_many_rounds(cache, met):
    cache[met]
    resource = pytest.importorskip("resource")
    for _ in range(1000):
        cache[met]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200_000):
        cache[met]
        cache.get(met)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 4096  # KiB
    (entry,) = entry_of("MET_pt/data")
    assert entry["pins"] == 0


# ---- what coffea makes ----


def test_a_put_is_shared(cache, other, nano_file, daemon):
    array = np.arange(7, dtype="f8")
    assert cache.get(other) is None
    cache[other] = array
    assert same(cache[other], array)
    assert not np.shares_memory(cache[other], array)
    assert cache._local.keys() == []
    assert other in bufferd.BufferCache(nano_file)


def test_the_first_put_wins(cache, other, nano_file):
    cache[other] = np.array([1.0, 2.0])
    second = bufferd.BufferCache(nano_file)
    second[other] = np.array([3.0, 4.0])
    assert second[other].tolist() == [1.0, 2.0]
    assert cache[other].tolist() == [1.0, 2.0]


def test_a_put_of_another_length_is_kept_here(cache, other, nano_file):
    cache[other] = np.array([1.0, 2.0])
    second = bufferd.BufferCache(nano_file)
    second[other] = np.array([1.0, 2.0, 3.0])
    assert len(second[other]) == 3
    assert len(cache[other]) == 2


def test_what_the_daemon_makes_is_not_put(cache, met):
    cache[met] = array = np.arange(3.0)
    assert cache[met] is array
    assert entry_of("derived") == []


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_puts_keep_their_type(cache, nano_file, dtype):
    name = key(nano_file, f"x,!{dtype.replace('?', 'b')}", 0, 3)
    array = np.array([1, 0, 1]).astype(dtype)
    cache[name] = array
    assert same(cache[name], array)
    assert cache._local.keys() == []


@pytest.mark.parametrize(
    "value",
    [
        np.arange(3, dtype=">i4"),
        np.arange(3, dtype="c16"),
        np.arange(4).reshape(2, 2),
        np.arange(6)[::2],
        np.array(["a", "b"]),
        [1, 2, 3],
        np.float64(3),
    ],
    ids=["big-endian", "complex", "2-d", "strided", "text", "list", "scalar"],
)
def test_what_cannot_be_shared_is_kept_here(cache, other, nano_file, value):
    cache[other] = value
    assert cache[other] is value
    assert bufferd.BufferCache(nano_file).get(other) is None


def test_empty_arrays(cache, other):
    cache[other] = np.array([], dtype="f4")
    assert same(cache[other], np.array([], dtype="f4"))


def test_a_very_long_form_key(cache, nano_file):
    names = [key(nano_file, "!".join(["x" * 100] * 60) + end, 0, 3) for end in "ab"]
    for i, name in enumerate(names):
        cache[name] = np.arange(3) + i
    assert [cache[name][0] for name in names] == [0, 1]
    assert cache._local.keys() == []


# ---- unknown files ----


def test_keys_of_unknown_files_stay_here_and_one_hint_is_logged(daemon, tmp_path, caplog):
    path = nano.make(tmp_path / "unknown.root", n_parts=1, n_each=5)
    cache, second = bufferd.BufferCache(), bufferd.BufferCache()
    name = key(path, "MET_pt,!load", 0, 5)
    before = figures()["buffers_put"]
    with caplog.at_level(logging.WARNING, "bufferd"):
        assert cache.get(name) is None
        assert cache.get(name.replace("MET_pt", "MET_phi")) is None
        cache[name] = array = np.arange(5.0)
    assert cache[name] is array
    assert second.get(name) is None
    assert figures()["buffers_put"] == before
    assert len([r for r in caplog.records if "BufferManager" in r.message]) == 1


def test_a_file_that_becomes_known(daemon, tmp_path):
    path = nano.make(tmp_path / "late.root", n_parts=1, n_each=5)
    cache = bufferd.BufferCache()
    name = key(path, "MET_pt,!load", 0, 5)
    assert cache.get(name) is None
    cache.add_file(path)
    assert len(cache[name]) == 5


def test_bufferd_open_makes_a_file_known(daemon, tmp_path):
    path = nano.make(tmp_path / "opened.root", n_parts=1, n_each=5)
    bufferd.open(path)
    assert len(bufferd.BufferCache()[key(path, "MET_pt,!load", 0, 5)]) == 5


def test_a_replaced_file_is_not_the_file_of_the_key(daemon, tmp_path):
    path = nano.make(tmp_path / "a.root", n_parts=1, n_each=5)
    cache = bufferd.BufferCache(path)
    old = key(path, "MET_pt,!load", 0, 5)
    os.replace(nano.make(tmp_path / "b.root", n_parts=1, n_each=5, seed=2), path)
    assert cache.get(old) is None


def test_two_files_with_one_uuid_are_not_answered(daemon, tmp_path):
    path = nano.make(tmp_path / "a.root", n_parts=1, n_each=5)
    copy = shutil.copy(path, tmp_path / "b.root")
    cache = bufferd.BufferCache(path)
    name = key(path, "MET_pt,!load", 0, 5)
    assert len(cache[name]) == 5
    cache.add_file(copy, name.split("/")[0])
    assert cache.get(name) is None
    assert list(cache) == []
    assert bufferd.BufferCache([path, copy]).get(name) is None
    assert len(bufferd.BufferCache(path)[name]) == len(bufferd.BufferCache(copy)[name]) == 5


def test_a_file_that_cannot_be_opened(daemon, tmp_path):
    path = nano.make(tmp_path / "a.root", n_parts=1, n_each=5)
    name = key(path, "MET_pt,!load", 0, 5)
    cache = bufferd.BufferCache(path)
    with open(path, "r+b") as f:
        f.truncate(300)
    assert cache.get(name) is None
    os.unlink(path)
    assert cache.get(name) is None


# ---- the rest of a mapping ----


def test_iteration_is_over_what_this_process_knows(cache, met, other):
    assert list(cache) == [] and len(cache) == 0
    cache[met]
    cache[other] = np.arange(3)
    cache["mine"] = np.arange(3)
    assert set(cache) == {met, other, "mine"} and len(cache) == 3
    assert dict(cache.items()).keys() == {met, other, "mine"}
    cache.clear()
    assert list(cache) == []


def test_deleting_forgets_and_frees(cache, met, other):
    cache[met]
    cache[other] = np.arange(3)
    del cache[met], cache[other]
    assert list(cache) == []
    assert entry_of("MET_pt/data") == [] and entry_of("something") == []
    with pytest.raises(KeyError):
        del cache[met]


def test_pop_does_not_load(cache, met):
    before = figures()["buffers_made"]
    assert cache.pop(met, None) is None
    assert figures()["buffers_made"] == before
    cache[met]
    array = cache.pop(met)
    assert len(array) == N
    assert list(cache) == []


def test_popitem_update_setdefault(cache):
    cache.update({"a": 1, "b": 2})
    assert cache.setdefault("a", 3) == 1
    assert cache.setdefault("c", 3) == 3
    assert dict(cache.popitem() for _ in range(3)) == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(KeyError):
        cache.popitem()


def test_cleared_while_an_array_is_held(cache, met):
    array = cache[met]
    before = array.copy()
    outcome = cache.discard([met])
    assert outcome.held_by_you == (1, array.nbytes)
    assert (array == before).all()
    del array
    gc.collect()
    assert entry_of("MET_pt/data") == []
    assert (cache[met] == before).all()


def test_what_is_kept_here_is_bounded(daemon):
    cache = bufferd.BufferCache(local_bytes=1000)
    for i in range(10):
        cache[f"k{i}"] = np.zeros(50)
    assert 0 < len(cache) <= 3
    assert "k9" in cache
    cache["large"] = np.zeros(1000)
    assert "large" in cache and len(cache) == 1


def test_pickling_reconnects(cache, met, nano_file):
    array = cache[met]
    copy = pickle.loads(pickle.dumps(cache))
    assert copy is not cache and copy._files.paths() == cache._files.paths()
    assert np.shares_memory(copy[met], array)


def test_pickled_arrays_are_copies(cache, met):
    array = pickle.loads(pickle.dumps(cache[met]))
    assert same(array, cache[met]) and not np.shares_memory(array, cache[met])


def test_a_cache_is_cheap(daemon, nano_file):
    before = figures()["sessions_opened"]
    began = time.perf_counter()
    for _ in range(1000):
        bufferd.BufferCache(nano_file).get("x")
    assert time.perf_counter() - began < 1
    assert figures()["sessions_opened"] == before


def test_equality_is_identity(cache, nano_file):
    assert cache == cache and cache != bufferd.BufferCache(nano_file)
