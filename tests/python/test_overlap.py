"""Ranges of the same columns that overlap, read at once: each is right, and no basket is decoded twice."""

import concurrent.futures
import random

import awkward as ak
import nano
import pytest
import uproot
from support import figures

import bufferd


def read_all(path, tree, columns, seed, n_ranges=60):
    """Random ranges by several threads; the arrays are kept, so that nothing of them is evicted."""
    rng = random.Random(seed)
    n = bufferd.open(path)[tree].num_entries
    ranges = [tuple(sorted(rng.randint(0, n) for _ in "12")) for _ in range(n_ranges)] + [(0, n)]
    rng.shuffle(ranges)

    def read(entries):
        return bufferd.open(path)[tree].arrays(columns, entry_start=entries[0], entry_stop=entries[1])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(zip(ranges, pool.map(read, ranges)))


def expect_right(found, expected):
    for (start, stop), arrays in found:
        for name in arrays.fields:
            assert ak.array_equal(arrays[name], expected[name][start:stop], equal_nan=True, dtype_exact=True)


@pytest.mark.parametrize("seed", range(3))
def test_made_files(own_daemon, made_file, seed):
    own_daemon()
    columns = ["Jet_pt", "Muon_charge", "Muon_tightId", "MET_pt", "HLT_IsoMu24", "event"]
    found = read_all(made_file, nano.TREE, columns, seed)
    with uproot.open(made_file) as f:
        tree = f[nano.TREE]
        expect_right(found, tree.arrays(columns))
        counters = ["nJet", "nMuon"]
        n_baskets = sum(tree[c].num_baskets for c in columns + counters)
    assert figures()["baskets_decoded"] <= n_baskets


def test_baskets_without_offset_tables(own_daemon, corpus):
    """Where a basket's entries begin says its counter, whose baskets are cut elsewhere."""
    path = corpus and corpus / "uproot-small-dy-nooffsets.root"
    twin = corpus and corpus / "uproot-small-dy-withoffsets.root"
    if not corpus or not path.exists() or not twin.exists():
        pytest.skip("no such sample")
    own_daemon()
    with uproot.open(twin) as f:
        name = f.keys(filter_classname="TTree", cycle=False)[0]
        tree = f[name]
        jagged = [b.name for b in tree.branches if "[]" in b.typename][:12]
        expected = tree.arrays(jagged)
    found = read_all(path, name, jagged, 1)
    expect_right(found, expected)
    with uproot.open(path) as f:
        tree = f[name]
        counters = {tree[j].count_branch.name for j in jagged}
        n_baskets = sum(tree[c].num_baskets for c in [*jagged, *counters])
    assert figures()["baskets_decoded"] <= n_baskets
