"""The native TTree reader against uproot, bit by bit.

Every branch that uproot reads as plain numbers or as numbers jagged by a counter leaf is compared:
names, entries, type names, item types, values and offsets, for the whole tree and for random entry
ranges. The files are the samples in $BUFFERD_CORPUS (or ../shared/data beside the repository) if
they are there, and always some that uproot writes for this test. The other side is
tests/tools/readtree from the build directory $BUFFERD_BUILD (or build/).
"""

import collections
import os
import pathlib
import random
import subprocess

import awkward as ak
import numpy as np
import pytest
import uproot
from uproot.interpretation.jagged import AsJagged
from uproot.interpretation.numerical import AsDtype

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUFFERD_BUILD", ROOT / "build"))
CORPUS = pathlib.Path(os.environ.get("BUFFERD_CORPUS", ROOT.parent / "shared" / "data"))
READTREE = BUILD / "tests" / "tools" / "readtree"
N_RANGES = int(os.environ.get("BUFFERD_RANGES", "20"))
TREES = ("TTree", "TNtuple", "TNtupleD")

# uproot looks for the counts of a basket in the counter's basket of the same number, which is another
# one where baskets have no offset tables. The same events with tables are read instead.
TWINS = {"uproot-small-dy-nooffsets.root": "uproot-small-dy-withoffsets.root"}

SAMPLES = sorted(CORPUS.glob("*.root")) if CORPUS.is_dir() else []
totals = collections.Counter()

Column = collections.namedtuple(
    "Column",
    "number name kind item n_per_entry n_entries counter type_name class_name n_baskets n_embedded "
    "has_data reason",
)


class Reader:
    """One readtree process that answers commands."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [READTREE, path, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait() == 0

    def read(self, tree, number, start, stop, what):
        line = f"{tree}\t#{number}\t{start}\t{stop}\t{what}\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().split(" ", 2)
        assert answer[0] == "ok", f"{line!r} -> {answer}"
        data = self.process.stdout.read(int(answer[2]))
        return np.frombuffer(data, np.dtype(answer[1]))


def list_trees(path):
    """{tree path: (class, is_newest, columns or the error)}"""
    out = subprocess.run([READTREE, path], stdout=subprocess.PIPE, check=True).stdout.decode()
    trees = {}
    for line in out.splitlines():
        kind, *fields = line.split("\t")
        if kind == "tree":
            columns = [] if fields[3] != "error" else fields[5]
            trees[fields[0]] = (fields[1], fields[2] == "1", columns)
        else:
            columns.append(Column(*fields))
    return trees


def numeric_kind(branch):
    """"flat", "jagged", "record" (a leaf list) or None, as uproot sees the branch."""
    try:
        interpretation = branch.interpretation
    except Exception:
        return None
    if type(interpretation) is AsDtype:
        return "flat" if interpretation.from_dtype.names is None else "record"
    if type(interpretation) is AsJagged and type(interpretation.content) is AsDtype:
        if interpretation.header_bytes == 0 and interpretation.content.from_dtype.names is None:
            return "jagged"
    return None


def rows(array):
    """One row of items for each entry (flat) or element (jagged)."""
    return array.reshape(len(array), int(np.prod(array.shape[1:], dtype=int)))


def uproot_flat(branch):
    return rows(branch.array(library="np")), None


def uproot_jagged(branch):
    layout = ak.to_packed(branch.array()).layout
    offsets = np.asarray(layout.offsets if hasattr(layout, "offsets") else layout.starts)
    content = ak.to_numpy(layout.content)
    return rows(content), offsets


def ranges(n_entries, seed):
    yield 0, n_entries
    rng = random.Random(seed)
    for _ in range(N_RANGES if n_entries > 0 else 0):
        a, b = rng.randint(0, n_entries), rng.randint(0, n_entries)
        yield min(a, b), max(a, b)


def compare_values(reader, tree, column, values, offsets):
    """Whole and in ranges. `values` has a row per entry (flat) or per item (jagged)."""
    n_entries = len(values) if offsets is None else len(offsets) - 1
    assert int(column.n_entries) == n_entries
    assert int(column.n_per_entry) == values.shape[1] or len(values) == 0
    for start, stop in ranges(n_entries, column.name):
        got = reader.read(tree, column.number, start, stop, "values")
        first, last = (start, stop) if offsets is None else (offsets[start], offsets[stop])
        expected = np.ascontiguousarray(values[first:last])
        assert got.dtype == expected.dtype
        assert got.tobytes() == expected.tobytes(), (column, start, stop)
        if offsets is not None:
            got = reader.read(tree, column.number, start, stop, "offsets")
            assert got.tolist() == (offsets[start : stop + 1] - first).tolist()


def compare_branch(reader, tree, column, branch):
    kind = numeric_kind(branch)
    assert column.kind in ("none", "flat", "jagged")
    assert (column.kind == "none") == (column.reason != "")
    if column.kind == "none":
        totals["unsupported " + (kind or "other")] += 1
        if kind in ("flat", "jagged"):
            print("unsupported:", tree, column.name, column.reason)
        return
    if kind is None:
        assert column.item == "<i4" and len(branch.branches) > 0, (column, branch.typename)
        reader.read(tree, column.number, 0, int(column.n_entries), "values")
        totals["collection sizes"] += 1
        return
    assert (column.kind, column.type_name) == (kind, branch.typename)
    values, offsets = (uproot_flat if kind == "flat" else uproot_jagged)(branch)
    compare_values(reader, tree, column, values, offsets)
    totals[kind] += 1
    totals["embedded"] += int(column.n_embedded)


def compare_file(path):
    trees = list_trees(path)
    oracle = path.with_name(TWINS.get(path.name, path.name))
    with uproot.open(oracle) as file, Reader(path) as reader:
        classes = file.classnames(recursive=True)
        expected = [n for n, c in classes.items() if c in TREES]
        assert sorted(n for n, t in trees.items() if t[0] in TREES) == sorted(expected)
        for name in expected:
            columns = trees[name][2]
            assert isinstance(columns, list), (name, columns)
            branches = list(file[name].iteritems(recursive=True))
            assert [c.name for c in columns] == [n for n, _ in branches]
            for column, (_, branch) in zip(columns, branches):
                compare_branch(reader, name, column, branch)
        for name, (class_name, _, error) in trees.items():
            assert class_name in TREES or "is not read" in error


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_sample_equals_uproot(path):
    compare_file(path)


@pytest.mark.skipif(not SAMPLES, reason="no sample files")
def test_samples_are_covered():
    """Runs after the samples: the issue's own number, and nothing numeric left out."""
    print(dict(totals))
    if "flat" not in totals:
        pytest.skip("the samples were not compared in this run")
    assert totals["flat"] + totals["jagged"] > 10_000
    assert totals["unsupported flat"] == totals["unsupported jagged"] == 0


DTYPES = ("bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
CODECS = {
    "none": None,
    "zlib": uproot.ZLIB(4),
    "lz4": uproot.LZ4(4),
    "zstd": uproot.ZSTD(5),
    "lzma": uproot.LZMA(5),
}


def make_arrays(n, rng):
    counts = rng.integers(0, 5, n)
    arrays = {}
    for dtype in DTYPES:
        values = rng.integers(0, 2 if dtype == "bool" else 120, n).astype(dtype)
        arrays["flat_" + dtype] = values
        arrays["fixed_" + dtype] = np.repeat(values, 6).reshape(n, 2, 3)
        content = rng.integers(0, 2 if dtype == "bool" else 120, counts.sum()).astype(dtype)
        arrays["jagged_" + dtype] = ak.unflatten(content, counts)
    return arrays


def make_tree(file, name, sizes):
    rng = np.random.default_rng(len(name))
    empty = make_arrays(0, rng)
    types = {}
    for key, array in empty.items():
        if isinstance(array, ak.Array):
            types[key] = f"var * {np.asarray(array.layout.content.data).dtype}"
        else:
            types[key] = np.dtype((array.dtype, array.shape[1:]))
    tree = file.mktree(name, types)
    for n in sizes:
        tree.extend(make_arrays(n, rng))


@pytest.mark.parametrize("codec", CODECS)
def test_written_file_equals_uproot(codec, tmp_path):
    path = tmp_path / f"{codec}.root"
    with uproot.recreate(path, compression=CODECS[codec]) as file:
        make_tree(file, "several", [1000, 1, 3000, 500])
        make_tree(file, "dir/sub/one", [1])
        make_tree(file, "dir/empty", [])
    before = totals.copy()
    compare_file(path)
    assert totals["flat"] - before["flat"] >= 2 * 3 * len(DTYPES)
    assert totals["jagged"] - before["jagged"] == 3 * len(DTYPES)


@pytest.mark.parametrize("codec", ["zlib", "zstd", "lz4"])
def test_basket_of_several_blocks_equals_uproot(codec, tmp_path):
    """A block holds 16 MiB at most; this basket needs two."""
    path = tmp_path / "large.root"
    with uproot.recreate(path, compression=CODECS[codec]) as file:
        tree = file.mktree("tree", {"x": "f8"})
        tree.extend({"x": np.arange(2_500_000) // 1000.0})
    with uproot.open(path) as file:
        assert len(file["tree/x"].basket(0).block_compression_info) > 1
    compare_file(path)


def test_reasons_and_errors(tmp_path):
    """What is not read says so, and nothing else stops working."""
    path = tmp_path / "file.root"
    with uproot.recreate(path) as file:
        file.mktree("tree", {"x": "f8", "text": "string"})
        file["tree"].extend({"x": np.arange(3.0), "text": ak.Array(["a", "bb", "ccc"])})
        file["ntuple"] = {"x": np.arange(3.0)}
        file["text"] = "no tree"
    trees = list_trees(path)
    assert "ROOT::RNTuple" in trees["ntuple;1"][2]
    columns = trees["tree;1"][2]
    by_name = {c.name: c for c in columns}
    assert by_name["x"].kind == "flat"
    assert by_name["text"].kind == "none" and "TLeafC" in by_name["text"].reason

    def run(*args):
        done = subprocess.run([READTREE, *args], capture_output=True, check=False)
        return done.returncode, done.stderr.decode()

    assert run(path, "nothing", "x", "0", "1")[1].startswith("x: the file has no tree")
    assert "TLeafC" in run(path, "tree", "text", "0", "3")[1]
    assert run(path, "tree;1", "x", "0", "4")[0] == 1
    assert run(path, "/tree", "x", "0", "3")[0] == 0
    other = tmp_path / "other"
    other.write_bytes(b"no ROOT file")
    assert "no ROOT file" in run(other)[1]


def truncations(path, folder):
    data = path.read_bytes()
    for k in range(1, 200):
        cut = folder / f"{path.stem}-{k}.root"
        cut.write_bytes(data[: max(1, len(data) * k // 200)])
        yield cut


def scan_truncations(path, folder):
    """Never a crash: readtree exits with 0 when it has looked at every file."""
    done = subprocess.run(
        [READTREE, "--scan", *truncations(path, folder)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 199


SMALL = [p for p in SAMPLES if p.stat().st_size < 400_000]


@pytest.mark.parametrize("path", SMALL, ids=lambda p: p.stem)
def test_truncated_sample_is_an_error(path, tmp_path):
    scan_truncations(path, tmp_path)


@pytest.mark.parametrize("codec", CODECS)
def test_truncated_written_file_is_an_error(codec, tmp_path):
    path = tmp_path / "whole.root"
    with uproot.recreate(path, compression=CODECS[codec]) as file:
        make_tree(file, "several", [30, 1, 20])
        make_tree(file, "dir/one", [1])
    scan_truncations(path, tmp_path)
