"""bufferd.open against uproot."""

import os
import random
import time

import awkward as ak
import nano
import numpy as np
import pytest
import uproot
from support import figures, offset_of

import bufferd

FILES = {
    "nano_dy.root": "Events",
    "nano_tt_v12.root": "Events",
    "uproot-HZZ-zlib.root": "events",
    "uproot-HZZ-lz4.root": "events",
    "uproot-HZZ-lzma.root": "events",
    "uproot-HZZ-zstd.root": "events",
    "uproot-HZZ-uncompressed.root": "events",
    "uproot-Zmumu-zstd.root": "events",
    "uproot-sample-6.20.04-zlib.root": "sample",
    "uproot-leaflist.root": "tree",
    "uproot-simple.root": "tree",
    "uproot-nesteddirs.root": "one/two/tree",
    "treemaker.root": "PreSelection",
    "edm4hep.root": "events",
    "uproot-stl_containers.root": "tree",
    "uproot-double32-float16.root": "tree",
    "uproot-issue31.root": "T",
    "ntpl001_staff_rntuple_v1-0-1-0.root": "Staff",
}


def assert_same(found, expected):
    assert found.type.show is not None and str(found.type) == str(expected.type)
    assert ak.array_equal(found, expected, equal_nan=True, dtype_exact=True)


def ranges(n, seed, count):
    rng = random.Random(seed)
    yield None, None
    yield 0, 0
    yield -3, None
    for _ in range(count):
        yield tuple(sorted((rng.randint(0, n), rng.randint(0, n))))


# ---- wrong use ----


def test_a_file_that_is_not_there(daemon, tmp_path):
    with pytest.raises(FileNotFoundError):
        bufferd.open(tmp_path / "none.root")


def test_what_is_not_in_the_file(daemon, nano_file):
    file = bufferd.open(nano_file)
    assert "Events" in file and "Runs" not in file
    with pytest.raises(KeyError):
        file["Runs"]
    with pytest.raises(KeyError):
        file["Events"].arrays(["no_such"])
    with pytest.raises(ValueError):
        file["Events"].arrays(["MET_pt"], library="pd")


def test_no_root_file(daemon, tmp_path):
    (tmp_path / "x.root").write_bytes(b"nothing" * 100)
    with pytest.raises(Exception):  # noqa: B017 - whatever uproot says
        bufferd.open(tmp_path / "x.root")["Events"]


# ---- equal to uproot ----


@pytest.mark.parametrize("name", FILES)
def test_all_arrays_of_a_sample(daemon, corpus, name):
    if corpus is None:
        pytest.skip("no corpus")
    ours, theirs = (module.open(str(corpus / name))[FILES[name]] for module in (bufferd, uproot))
    assert ours.num_entries == len(ours) == theirs.num_entries
    assert set(ours.keys()) == set(theirs.keys())
    for start, stop in ranges(theirs.num_entries, name, 2):
        expected = theirs.arrays(entry_start=start, entry_stop=stop)
        for _ in range(2):  # made, then found
            assert_same(ours.arrays(entry_start=start, entry_stop=stop), expected)


LISTS = {
    "PHYSLITE_example.root": "CollectionTree",
    "treemaker.root": "PreSelection",
    "edm4hep.root": "events",
    "uproot-stl_containers.root": "tree",
    "uproot-double32-float16.root": "tree",
    "uproot-issue31.root": "T",
    "uproot-nesteddirs.root": "three/tree",
    "uproot-Zmumu-zstd.root": "events",
}


@pytest.mark.parametrize("name", LISTS)
def test_native_columns_are_uproots_arrays(daemon, corpus, name):
    """Each branch that the daemon reads, by itself: the same type, parameters and values."""
    if corpus is None:
        pytest.skip("no corpus")
    ours, theirs = (module.open(str(corpus / name))[LISTS[name]] for module in (bufferd, uproot))
    columns = [c for c in ours._branches().values() if ours._is_native(c)]
    ours._from_uproot = None  # must not be needed
    assert any(c.n_levels for c in columns) or "double32" in name
    for start, stop in [(None, None), (1, -1), (2, 2)]:
        found = ours.arrays([c.name for c in columns], entry_start=start, entry_stop=stop)
        for column in columns:
            expected = theirs[column.name].array(entry_start=start, entry_stop=stop)
            assert_same(found[column.name], expected)


def test_a_tree_of_many_lists_is_unpacked_once(own_daemon, tmp_path):
    """Values and all levels of offsets, in whatever pieces, decode each basket once."""
    path = tmp_path / "lists.root"
    rng = np.random.default_rng(1)
    with uproot.recreate(path) as file:
        file.mktree("tree", {"text": "string", "n": "i4"})
        for n in (700, 1, 300):
            words = ["x" * k for k in rng.integers(0, 300, n)]
            file["tree"].extend({"text": ak.Array(words), "n": np.arange(n, dtype="i4")})
    own_daemon(memory="64M")
    theirs = uproot.open(path)["tree"]
    ours = bufferd.open(path)["tree"]
    ours._from_uproot = None
    n_before = figures()["baskets_decoded"]
    for start, stop in [(0, 1001), (5, 6), (650, 900), (700, 701), (0, 0), (1001, 1001)]:
        found = ours.arrays(["text"], entry_start=start, entry_stop=stop)
        assert_same(found.text, theirs["text"].array(entry_start=start, entry_stop=stop))
    assert figures()["baskets_decoded"] - n_before == 3


def test_all_arrays_of_a_made_file(daemon, made_file):
    ours, theirs = (module.open(made_file)["Events"] for module in (bufferd, uproot))
    assert ours.keys() == theirs.keys()
    assert ours.typenames() == theirs.typenames()
    for start, stop in ranges(theirs.num_entries, 1, 20):
        expected = theirs.arrays(entry_start=start, entry_stop=stop)
        assert_same(ours.arrays(entry_start=start, entry_stop=stop), expected)


@pytest.mark.parametrize("n_parts, n_each", [(0, 5), (1, 1), (3, 1)])
def test_small_trees(daemon, tmp_path, n_parts, n_each):
    path = nano.make(tmp_path / "small.root", n_parts=n_parts, n_each=n_each)
    ours, theirs = (module.open(path)["Events"] for module in (bufferd, uproot))
    assert_same(ours.arrays(), theirs.arrays())


@pytest.mark.parametrize("expressions", ["MET_pt", ["MET_pt"], ["Jet_pt", "nJet", "run"], []])
def test_some_branches(daemon, nano_file, expressions):
    ours, theirs = (module.open(nano_file)["Events"] for module in (bufferd, uproot))
    found = ours.arrays(expressions, entry_start=100, entry_stop=900)
    expected = theirs.arrays(expressions, entry_start=100, entry_stop=900)
    assert found.fields == expected.fields
    if expressions:
        assert_same(found, expected)


def test_expressions_are_left_to_uproot(daemon, nano_file):
    ours, theirs = (module.open(nano_file)["Events"] for module in (bufferd, uproot))
    assert_same(ours.arrays(["MET_pt * 2"]), theirs.arrays(["MET_pt * 2"]))


def test_numpy(daemon, nano_file):
    ours, theirs = (module.open(nano_file)["Events"] for module in (bufferd, uproot))
    names = ["MET_pt", "Jet_pt", "Muon_tightId"]
    found, expected = (t.arrays(names, library="np", entry_stop=500) for t in (ours, theirs))
    assert list(found) == list(expected)
    for name in names:
        assert found[name].dtype == expected[name].dtype
        assert len(found[name]) == len(expected[name])
        assert all(np.array_equal(a, b) for a, b in zip(found[name], expected[name], strict=True))


def test_names_of_trees(daemon, nano_file, corpus):
    assert bufferd.open(nano_file).keys() == ["Events;1"]
    assert list(bufferd.open(nano_file)) == ["Events;1"]
    if corpus is not None:
        names = set(bufferd.open(corpus / "uproot-nesteddirs.root").keys())
        assert names == {"one/two/tree;1", "one/tree;1", "three/tree;1"}


# ---- shared ----


def buffers(array):
    layout = array.layout
    while hasattr(layout, "content"):
        layout = layout.content
    return layout.data


def test_no_copy_is_made(daemon, nano_file):
    tree = bufferd.open(nano_file)["Events"]
    one, two = tree.arrays(["Jet_pt", "MET_pt"]), bufferd.open(nano_file)["Events"].arrays("Jet_pt")
    assert np.shares_memory(buffers(one.Jet_pt), buffers(two.Jet_pt))
    assert offset_of(buffers(one.MET_pt)) % 4096 == 0
    assert not buffers(one.Jet_pt).flags.writeable


def test_columns_of_a_call_are_asked_for_at_once(daemon, fresh_file):
    tree = bufferd.open(fresh_file)["Events"]
    before = figures()["requests"]
    tree.arrays()
    assert figures()["requests"] - before <= 2  # one, and the question itself


def test_coffea_finds_what_was_opened(daemon, fresh_file):
    import support

    tree = bufferd.open(fresh_file)["Events"]
    array = tree.arrays(["MET_pt"]).MET_pt
    cache = bufferd.BufferCache()
    key = support.key(fresh_file, "MET_pt,!load", 0, nano.N_ENTRIES)
    assert np.shares_memory(cache[key], buffers(array))


def unsupported_file(path):
    with uproot.recreate(str(path)) as f:
        arrays = {"x": np.arange(5.0), "m": np.arange(10, dtype="f4").reshape(5, 2)}
        f.mktree("tree", {"x": "f8", "m": ("f4", (2,))}).extend(arrays)
    return str(path)


def test_what_the_daemon_does_not_read_comes_through_uproot_and_is_shared(daemon, tmp_path):
    path = unsupported_file(tmp_path / "fixed.root")
    expected = uproot.open(path)["tree"].arrays()
    tree = bufferd.open(path)["tree"]
    assert_same(tree.arrays(), expected)
    n_put = figures()["buffers_put"]
    again = bufferd.open(path)
    found = again["tree"].arrays(["m"])
    assert_same(found, expected[["m"]])
    assert again._uproot is None  # was not needed
    assert figures()["buffers_put"] == n_put > 0
    assert np.array_equal(tree.arrays(["m"], library="np")["m"], ak.to_numpy(expected.m))


# ---- without a daemon ----


@pytest.mark.filterwarnings("ignore:bufferd")
def test_without_a_daemon_uproot_reads(no_daemon, nano_file):
    file = bufferd.open(nano_file)
    assert file.keys() == ["Events;1"]
    ours, theirs = file["Events"], uproot.open(nano_file)["Events"]
    assert ours.num_entries == theirs.num_entries
    assert ours.keys() == theirs.keys() and ours.typenames() == theirs.typenames()
    assert_same(ours.arrays(["Jet_pt"], entry_stop=9), theirs.arrays(["Jet_pt"], entry_stop=9))
    with pytest.raises(KeyError):
        file["Runs"]
    file.close()


def test_a_daemon_that_dies_between_open_and_arrays(own_daemon, nano_file):
    daemon = own_daemon()
    tree = bufferd.open(nano_file)["Events"]
    held = tree.arrays(["MET_pt"])
    daemon.kill()
    with pytest.warns(RuntimeWarning, match="bufferd"):
        found = tree.arrays(["MET_pt", "Jet_pt"])
    assert_same(found, uproot.open(nano_file)["Events"].arrays(["MET_pt", "Jet_pt"]))
    assert ak.all(held.MET_pt == found.MET_pt)


def test_a_file_that_was_replaced(daemon, tmp_path):
    path = nano.make(tmp_path / "a.root", n_parts=1, n_each=7)
    assert len(bufferd.open(path)["Events"]) == 7
    os.replace(nano.make(tmp_path / "b.root", n_parts=1, n_each=9, seed=5), path)
    tree = bufferd.open(path)["Events"]
    assert len(tree) == 9
    assert_same(tree.arrays(), uproot.open(path)["Events"].arrays())


def test_a_file_that_was_updated_in_place(daemon, tmp_path):
    """ROOT keeps the UUID then, and the path is the same as well."""
    path = str(tmp_path / "a.root")
    with uproot.recreate(path) as f:
        f.mktree("Events", {"x": "int32"}).extend({"x": [0, 1, 2, 3, 4]})
    time.sleep(0.05)
    old = bufferd.open(path)["Events"]
    assert old.arrays().x.tolist() == [0, 1, 2, 3, 4]
    with uproot.update(path) as f:
        f.mktree("Events", {"x": "int32"}).extend({"x": [100, 101, 102]})
    new = bufferd.open(path)["Events"]
    assert new.arrays().x.tolist() == [100, 101, 102]
    assert old.arrays().x.tolist() in ([0, 1, 2, 3, 4], [100, 101, 102]), "old or new, never mixed"


# ---- the daemon's figures ----


def test_status_and_trim(daemon, nano_file):
    bufferd.open(nano_file)["Events"].arrays(["MET_pt"])
    assert bufferd.status()["buffers_made"] >= 1
    assert bufferd.trim() >= 0


def test_status_without_a_daemon(no_daemon):
    with pytest.warns(RuntimeWarning, match="bufferd"), pytest.raises(bufferd.Error) as caught:
        bufferd.status()
    assert caught.value.name == "gone" and caught.value.code == 100


def test_lists_that_do_not_fit_come_from_uproot(own_daemon, tmp_path):
    """Baskets and result are larger than the arena; several loads wait for the same memory."""
    path = tmp_path / "large.root"
    n = 40
    with uproot.recreate(path, compression=None) as file:
        file.mktree("tree", {"a": "string", "b": "string"})
        for k in range(8):
            words = [chr(97 + k) * 60_000] * n
            file["tree"].extend({"a": ak.Array(words), "b": ak.Array(words)})
    own_daemon(memory="32M")
    theirs, ours = uproot.open(path)["tree"], bufferd.open(path)["tree"]
    for start, stop in [(None, None), (0, 160), (30, 200), (5, 50)]:
        found = ours.arrays(entry_start=start, entry_stop=stop)
        assert_same(found, theirs.arrays(entry_start=start, entry_stop=stop))
        del found
