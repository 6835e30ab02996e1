"""One test for each trap of ROOT files that the reader has to know, on a file that has it.

Each first makes sure that the file has the trap, then compares what it is about with uproot. Samples
are looked for as test_reader.py does; where none has the trap, a file is made for it. Traps that
uproot can neither write nor read (T4, T16, `x[n][2]`) are in tests/unit/test_traps.c.
"""

import re
import struct

import numpy as np
import pytest
import test_reader as reader
import uproot


def sample(name):
    path = reader.CORPUS / name
    if not path.is_file():
        pytest.skip(f"no sample {name}")
    return path


def compare(path, pattern=".*", tree=None):
    """Branches whose path matches. Return: (columns, how many of each outcome)."""
    seen = []

    def wanted(name, column):
        chosen = (tree is None or name == tree) and re.fullmatch(pattern, column.name)
        if chosen:
            seen.append(column)
        return chosen

    new = reader.compare_file(path, "traps", wanted)
    outcomes = {o: sum(n for k, n in new.items() if k[-1] == o) for o in reader.OUTCOMES}
    assert outcomes["equal"] > 0
    return seen, outcomes


def all_equal(path, pattern=".*", tree=None):
    columns, outcomes = compare(path, pattern, tree)
    assert outcomes["unsupported"] == 0, outcomes
    return columns


def file_version(path):
    return struct.unpack(">i", path.read_bytes()[4:8])[0]


def test_t1_a_negative_version_is_a_small_header():
    path = sample("nano_dy_SpecialTree.root")
    assert file_version(path) < 0
    all_equal(path, ".*_pt|n?Jet.*")


def test_t1b_a_big_header():
    path = sample("uproot-issue412.root")
    assert file_version(path) >= 1000000
    all_equal(path)


def test_t2_all_baskets_are_in_the_tree():
    columns = all_equal(sample("nanoAOD_2015_CMS_Open_Data_ttbar.root"), ".*_p.*", "Events;1")
    assert columns and all(c.n_baskets == c.n_embedded for c in columns if int(c.n_entries))


def test_t3_some_baskets_are_in_the_tree():
    columns = all_equal(sample("nanoAOD_2015_CMS_Open_Data_ttbar.root"))
    assert any(0 < int(c.n_embedded) < int(c.n_baskets) for c in columns)


def test_t5_iobits_shift_the_key():
    path = sample("uproot-small-dy-nooffsets.root")
    all_equal(path, "nJet|Jet_pt|Jet_jetId")


def test_t6_offsets_that_are_made_from_the_counter():
    """The counter's baskets hold other entries than those of the same number here."""
    path = sample("uproot-small-dy-nooffsets.root")
    with uproot.open(path) as file:
        branches = [b for b in file["tree"].branches if b.count_branch is not None]
        assert any(b.basket(0).byte_offsets is None for b in branches if b.num_baskets)
    columns = all_equal(path)
    assert any(c.kind == "jagged" for c in columns)


def test_t7_raw_baskets_in_a_compressed_branch():
    path = sample("uproot-HZZ-lz4.root")
    with uproot.open(path) as file:
        baskets = [
            (b.basket_compressed_bytes(i), b.basket_uncompressed_bytes(i))
            for b in file["events"].branches
            for i in range(b.num_baskets)
        ]
    assert any(a == b for a, b in baskets) and any(a < b for a, b in baskets)
    all_equal(path)


def test_t8_flat_branches_with_offset_tables():
    path = sample("uproot-small-evnt-tree-fullsplit.root")
    with uproot.open(path) as file:
        assert file["tree/evt/ArrayI16[10]"].basket(0).byte_offsets is not None
    all_equal(path, "evt/Array.*")
    columns = all_equal(sample("uproot-issue31.root"), ".*fBits|.*fUniqueID")
    assert any(c.name.endswith("fBits") and c.kind == "lists" for c in columns)


def test_t9_the_header_of_a_vector():
    columns = all_equal(sample("treemaker.root"), "Jets_.*")
    assert any(c.kind == "lists" and c.n_levels == "1" for c in columns)


def test_t10_a_vector_of_bools():
    columns = all_equal(sample("treemaker.root"), ".*(ID|_id|passIso|tightID).*")
    assert any(c.kind == "lists" and c.item == "|b1" for c in columns)


def test_t11_split_collections():
    columns = all_equal(sample("edm4hep.root"), "ClusterCollection.*", "events;1")
    assert any(c.counter != "-1" and c.n_per_entry == "6" for c in columns)
    assert any(int(c.flags) & reader.COUNTS for c in columns)


def test_t12_streamed_member_by_member_is_refused():
    path = sample("PHYSLITE_example.root")
    _, outcomes = compare(path, r".*\.(jetLink|isMisc)")
    assert outcomes["unsupported"] == 1
    path = sample("uproot-stl_containers.root")
    columns, outcomes = compare(path)
    maps = [c for c in columns if c.name.startswith("map")]
    assert maps and all(c.kind == "none" and "map<" in c.reason for c in maps)
    assert outcomes["unsupported"] <= len(maps)


def test_t13_leaf_lists():
    columns = all_equal(sample("uproot-leaflist.root"))
    assert any("record" in c.reason for c in columns)
    all_equal(sample("uproot-issue429.root"))  # with an array among the leaves


def test_t14_fixed_dimensions():
    columns = all_equal(sample("uproot-nesteddirs.root"), "evt/Array.*|Array.*")
    assert any(c.n_per_entry == "10" for c in columns)
    columns = all_equal(sample("edm4hep.root"), r".*\[.*\]", "events;1")
    assert any(c.kind == "jagged" and int(c.n_per_entry) > 1 for c in columns)


def test_t15_junk_among_the_embedded_baskets():
    all_equal(sample("uproot-issue413.root"))


def test_t17_more_places_than_baskets():
    path = sample("uproot-issue412.root")
    with uproot.open(path) as file:
        (tree,) = (file[n] for n, c in file.classnames().items() if c == "TTree")
        assert any(b.member("fMaxBaskets") > b.num_baskets for b in tree.branches)
    all_equal(path)


def test_t18_several_cycles_of_a_tree():
    path = sample("uproot-issue31.root")
    trees = reader.list_trees(path)
    assert {"T;1", "T;2"} <= set(trees)
    assert trees["T;2"][1] and not trees["T;1"][1], "the highest is the newest"
    all_equal(path)


def test_t19_trees_in_directories():
    path = sample("uproot-nesteddirs.root")
    trees = set(reader.list_trees(path))
    assert {"one/two/tree;1", "one/tree;1", "three/tree;1"} <= trees
    all_equal(path)


@pytest.mark.parametrize("name", ["nano_dy_empty.root", "uproot-empty.root"])
def test_t20_no_entries(name):
    columns = all_equal(sample(name))
    assert any(c.n_entries == "0" and c.kind != "none" for c in columns)


def test_t21_short_floats():
    columns = all_equal(sample("uproot-double32-float16.root"))
    assert {"<f4", "<f8"} <= {c.item for c in columns}


def test_t22_groups_have_no_data():
    columns, _ = compare(sample("edm4hep.root"), tree="podio_metadata;1")
    groups = [c for c in columns if "group" in c.reason]
    assert groups and all(not int(c.flags) & 1 for c in groups)


def test_t23_the_same_name_twice():
    path = sample("edm4hep.root")
    columns = all_equal(path, ".*(major|minor|patch)", "podio_metadata;1")
    bare = [c.name.rpartition("/")[2] for c in columns]
    assert bare.count("major") > 1
    with reader.Reader(path) as r:
        first = next(c for c in columns if c.name.endswith("/major"))
        assert r.read_named("podio_metadata;1", "major").tolist() == (
            r.read("podio_metadata;1", first.number, 0, 1, "values").tolist()
        )


# ---- versions that nothing here knows ----


def with_raw_metadata(path, tree):
    """The bytes of the file with its tree and its classes stored again, not compressed."""
    data = bytearray(path.read_bytes())
    with uproot.open(path) as file:
        keys_at = file._fSeekKeys
        key = file.key(tree)
        info = file.file.fSeekInfo
        chunk, cursor = key.get_uncompressed_chunk_cursor()
        raw = bytes(chunk.raw_data)[: key.fObjlen]
        is_big = file.file.is_64bit
        streamers = uproot.reading.ReadOnlyKey(
            file.file.chunk(info, len(data)), uproot.source.cursor.Cursor(info), {}, file.file, file
        )
        chunk, cursor = streamers.get_uncompressed_chunk_cursor()
        classes = bytes(chunk.raw_data)[: streamers.fObjlen]
    assert not is_big
    where = {}
    for seek, keylen, payload in (
        (key.fSeekKey, key.fKeylen, raw),
        (info, streamers.fKeylen, classes),
    ):
        header = bytearray(data[seek : seek + keylen])
        is_wide = struct.unpack(">h", header[4:6])[0] > 1000
        new = len(data)
        header[0:4] = struct.pack(">i", keylen + len(payload))
        header[18 : 18 + (8 if is_wide else 4)] = struct.pack(">q" if is_wide else ">i", new)
        listed = data.find(data[seek : seek + keylen], keys_at)
        if seek != info:
            data[listed : listed + keylen] = header
        data += header + payload
        where[seek] = new + keylen
    at = data.find(struct.pack(">i", info), 8, 60)
    data[at : at + 4] = struct.pack(">i", where[info] - streamers.fKeylen)
    return data, where[key.fSeekKey], where[info]


def as_unknown(path, tree, out):
    """The same file, in which trees and branches have version 99, and say how they look."""
    data, tree_at, _ = with_raw_metadata(path, tree)
    n = {}
    with uproot.open(path) as file:
        classes = file.file.streamers
    for name in ("TTree", "TBranch", "TBranchElement"):
        version = max(classes.get(name, {0: None}))
        if not version:
            continue
        text = bytes([len(name)]) + name.encode() + b"\x00"
        described = re.compile(re.escape(text) + b"(.{4})" + re.escape(struct.pack(">i", version)), re.S)
        first = described.search(data, tree_at)
        data[first.end() - 4 : first.end()] = struct.pack(">i", 99)
        inner = b"\x00\x01" if name != "TBranchElement" else b"\x00\x63"
        frame = re.compile(b"\x40.{3}" + re.escape(struct.pack(">h", version)) + b"\x40.{3}" + inner, re.S)
        n[name] = 0
        for match in list(frame.finditer(data, tree_at)):
            data[match.start() + 4 : match.start() + 6] = struct.pack(">h", 99)
            n[name] += 1
    out.write_bytes(data)
    return n


@pytest.mark.parametrize(
    "name, tree, pattern",
    [
        ("uproot-sample-6.20.04-zlib.root", "sample;1", ".*"),
        ("uproot-HZZ-zlib.root", "events;1", ".*"),
        ("edm4hep.root", "events;1", ".*"),
    ],
)
def test_unknown_versions_are_read_by_streamer_info(name, tree, pattern, tmp_path):
    path, out = sample(name), tmp_path / name
    n = as_unknown(path, tree, out)
    assert n["TTree"] == 1 and n["TBranch"] > 1
    before = [c for c in reader.list_trees(path)[tree][2]]
    after = reader.list_trees(out)[tree][2]
    assert isinstance(after, list), after
    assert after == before
    with reader.Reader(path) as one, reader.Reader(out) as two:
        for column in before[:40]:
            if column.kind != "none":
                args = (tree, column.number, 0, int(column.n_entries), "values")
                assert np.array_equal(one.read(*args), two.read(*args))
