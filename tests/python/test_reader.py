"""The native TTree reader against uproot, bit by bit.

All trees of all files are walked, and every branch that uproot can read is compared: entries, type
name, item type, values, and the offsets of each level of lists, for the whole tree and for random
entry ranges. The table at the end says for each family of files and each kind of branch how many
were equal, unsupported (bufferd says why), or wrong, and how many uproot itself cannot read.

The files are the samples in $BUFFERD_CORPUS (or ../shared/data beside the repository) if they are
there, and always some that uproot writes for this test. The other side is tests/tools/readtree from
the build directory $BUFFERD_BUILD (or build/).
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

SAMPLES = sorted(CORPUS.rglob("*.root")) if CORPUS.is_dir() else []
FAMILIES = {  # part of the file's name: family, and how many per cent of its branches may be unsupported
    "nano": ("NanoAOD", 0),
    "treemaker": ("TreeMaker", 0),
    "edm4hep": ("EDM4hep", 0),
    "FCC": ("FCC", 2),
    "PHYSLITE": ("PHYSLITE", 30),
    "Zmumu": ("flat ntuples", 0),
    "HZZ": ("flat ntuples", 0),
    "simple": ("flat ntuples", 0),
    "sample-": ("flat ntuples", 0),
}
OUTCOMES = ("equal", "unsupported", "wrong", "not by uproot")
COUNTS, STRINGS, MEMBER = 2, 4, 8  # COLUMN_* of proto/tree_index.h
totals = collections.Counter()  # (family, kind, outcome)
unsupported = collections.Counter()  # (family, reason)

Column = collections.namedtuple(
    "Column",
    "number name kind item n_per_entry n_entries counter type_name class_name n_baskets n_embedded "
    "flags n_levels parent reason",
)


def family_of(path):
    for part, (family, _) in FAMILIES.items():
        if part in path.name:
            return family
    return "other"


class Refused(Exception):
    """What the reader said instead of values: job status, text."""


UNSUPPORTED = 3  # JOB_E_UNSUPPORTED


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
        return self._ask(f"{tree}\t#{number}\t{start}\t{stop}\t{what}\n")

    def read_named(self, tree, name):
        return self._ask(f"{tree}\t{name}\t0\t1\tvalues\n")

    def _ask(self, line):
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().split(" ", 2)
        if answer[0] != "ok":
            raise Refused(int(answer[1]), answer[2])
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


def kind_of(branch):
    """A row of the table, as uproot sees the branch."""
    try:
        text = repr(branch.interpretation)
    except Exception:
        return "unknown to uproot"
    if len(branch.branches) > 0:
        return "group"
    for part, kind in (
        ("Unknown", "unknown to uproot"),
        ("AsMap", "map"),
        ("AsSet", "set"),
        ("Double32", "Double32"),
        ("Float16", "Float16"),
        ("AsStridedObjects", "object"),
        ("header_bytes=1)", "pointer array"),
        ("header_bytes=10", "vector"),
        ("AsDtype(\"[", "leaf list"),
        ("AsArray(True, False, AsString", "strings in a collection"),
    ):
        if part in text:
            return kind
    depth = text.count("AsVector") + text.count("AsList")
    if "AsString" in text:
        return "vector<" * depth + "string" + ">" * depth
    if depth:
        return "vector<" * depth + ("object" if "Model" in text else "number") + ">" * depth
    if text.startswith("AsJagged"):
        return "jagged, fixed" if "(\"" in text else "jagged"
    if text.startswith("AsDtype"):
        return "flat, fixed" if "(\"" in text else "flat"
    return "object"


def rows(array):
    """One row of items for each unit."""
    return array.reshape(len(array), int(np.prod(array.shape[1:], dtype=int)))


def unnest(layout, n_levels):
    """Offsets of each level and the content below."""
    offsets = []
    for _ in range(n_levels):
        packed = layout.to_packed()
        if packed.is_regular:
            packed = packed.to_ListOffsetArray64(True)
        offsets.append(np.asarray(packed.offsets))
        layout = packed.content
    return offsets, layout


def expected_of(branch, column, member):
    """(values with a row per unit, offsets of each level, is text) as uproot has them."""
    n_levels = 1 if column.kind == "jagged" else int(column.n_levels)
    layout = ak.to_packed(branch.array()).layout
    offsets, content = unnest(layout, n_levels)
    if member is not None:
        content = content[member]
    is_text = content.parameter("__array__") == "char"
    if is_text:
        content = ak.contents.NumpyArray(np.asarray(content.data))
    return rows(ak.to_numpy(content)), offsets, is_text


def ranges(n_entries, seed):
    yield 0, n_entries
    rng = random.Random(seed)
    for _ in range(N_RANGES if n_entries > 0 else 0):
        a, b = rng.randint(0, n_entries), rng.randint(0, n_entries)
        yield min(a, b), max(a, b)


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


def compare_values(reader, tree, column, values, offsets):
    """Whole and in ranges. `values` has a row per unit (an entry, or an item of the innermost list)."""
    n_entries = len(offsets[0]) - 1 if offsets else len(values)
    check(int(column.n_entries) == n_entries, column, n_entries)
    check(len(values) == 0 or int(column.n_per_entry) == values.shape[1], column, values.shape)
    for start, stop in ranges(n_entries, column.name):
        first, last = start, stop
        for level, ends in enumerate(offsets):
            what = "offsets" if column.kind == "jagged" else f"offsets{level}"
            got = reader.read(tree, column.number, start, stop, what)
            check(got.tolist() == (ends[first : last + 1] - ends[first]).tolist(), start, stop, what)
            first, last = ends[first], ends[last]
        got = reader.read(tree, column.number, start, stop, "values")
        expected = np.ascontiguousarray(values[first:last])
        check(got.dtype == expected.dtype, got.dtype, expected.dtype)
        check(got.tobytes() == expected.tobytes(), start, stop)


def compare_column(reader, tree, column, branch, member=None):
    """Return: an outcome."""
    try:
        values, offsets, is_text = expected_of(branch, column, member)
    except Exception as e:
        print("not by uproot:", tree, column.name, type(e).__name__)
        return "not by uproot"
    try:
        compare_values(reader, tree, column, values, offsets)
        check(bool(int(column.flags) & STRINGS) == is_text)
        check(member is not None or column.type_name == branch.typename, branch.typename)
    except Refused as e:
        if e.args[0] == UNSUPPORTED:
            print("unsupported:", tree, column.name, e.args[1])
            return "unsupported"
        print("wrong:", tree, column, e)
        return "wrong"
    except AssertionError as e:
        print("wrong:", tree, column, e)
        return "wrong"
    return "equal"


def compare_record(reader, tree, members, column, branch):
    """A leaf list, or objects in lists: equal when every member is, and none is missing."""
    outcomes = set()
    for member in members:
        name = member.name[len(column.name) + 1 :]
        outcomes.add(compare_column(reader, tree, member, branch, name))
    for outcome in reversed(OUTCOMES):
        if outcome in outcomes:
            return outcome
    return "wrong"


def can_uproot_read(branch):
    try:
        branch.array(entry_stop=min(branch.num_entries, 1))
        branch.array()
    except Exception:
        return False
    return True


def compare_branch(family, reader, tree, column, members, branch):
    kind = kind_of(branch)
    assert column.kind in ("none", "flat", "jagged", "lists")
    assert (column.kind == "none") == (column.reason != "")
    if kind == "group":
        if column.kind == "flat" and int(column.flags) & COUNTS:
            reader.read(tree, column.number, 0, int(column.n_entries), "values")
            kind, outcome = "collection sizes", "equal"
        else:
            outcome = "equal" if branch.num_baskets == 0 else "unsupported"
    elif column.kind != "none":
        outcome = compare_column(reader, tree, column, branch)
    elif members:
        outcome = compare_record(reader, tree, members, column, branch)
    else:
        outcome = "unsupported" if can_uproot_read(branch) else "not by uproot"
        if outcome == "unsupported":
            unsupported[family, column.reason] += 1
            print("unsupported:", tree, column.name, column.reason)
    totals[family, kind, outcome] += 1
    totals["embedded baskets"] += int(column.n_embedded)


def compare_file(path, family=None, wanted=None):
    """`wanted(tree, column)`: compare these only. Return: what was added to the totals."""
    before = totals.copy()
    family = family or family_of(path)
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
            own = [c for c in columns if not int(c.flags) & MEMBER]
            assert [c.name for c in own] == [n for n, _ in branches]
            for column, (_, branch) in zip(own, branches):
                if wanted is not None and not wanted(name, column):
                    continue
                members = [
                    c
                    for c in columns[len(own) :]
                    if int(c.parent) == int(column.number) + 1
                ]
                compare_branch(family, reader, name, column, members, branch)
        for name, (class_name, _, error) in trees.items():
            assert class_name in TREES or "is not read" in error
    new = totals - before
    wrong = {key: n for key, n in new.items() if key[-1] == "wrong"}
    assert not wrong, wrong
    return new


def counted(new, outcome, *kinds):
    return sum(n for key, n in new.items() if key[-1] == outcome and key[1] in kinds)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_sample_equals_uproot(path):
    compare_file(path)


def table_lines():
    keys = sorted({key[:2] for key in totals if isinstance(key, tuple)})
    yield "{:14} {:28}".format("family", "kind") + "".join(f"{o:>14}" for o in OUTCOMES)
    for family, kind in keys:
        numbers = "".join(f"{totals[family, kind, o]:14}" for o in OUTCOMES)
        yield f"{family:14} {kind:28}{numbers}"


@pytest.mark.skipif(not SAMPLES, reason="no sample files")
def test_samples_are_covered(capsys):
    """Runs after the samples: the table, nothing wrong in it, and not too much unsupported."""
    with capsys.disabled():
        print()
        print("\n".join(table_lines()))
        for (family, reason), n in unsupported.most_common(20):
            print("unsupported", n, family, reason)
    n_equal = sum(n for key, n in totals.items() if key[-1] == "equal")
    if n_equal == 0:
        pytest.skip("the samples were not compared in this run")
    assert all(key[-1] != "wrong" for key in totals)
    for family, most in set(FAMILIES.values()):
        of_family = {key[1:]: n for key, n in totals.items() if key[0] == family}
        n_unsupported = sum(n for (_, o), n in of_family.items() if o == "unsupported")
        n_all = sum(n for (_, o), n in of_family.items() if o != "not by uproot")
        assert 100 * n_unsupported <= most * n_all, (family, n_unsupported, n_all)


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
    new = compare_file(path, "written")
    assert counted(new, "equal", "flat", "flat, fixed") >= 2 * 3 * len(DTYPES)
    assert counted(new, "equal", "jagged") == 3 * len(DTYPES)


@pytest.mark.parametrize("codec", ["zlib", "zstd", "lz4"])
def test_basket_of_several_blocks_equals_uproot(codec, tmp_path):
    """A block holds 16 MiB at most; this basket needs two."""
    path = tmp_path / "large.root"
    with uproot.recreate(path, compression=CODECS[codec]) as file:
        tree = file.mktree("tree", {"x": "f8"})
        tree.extend({"x": np.arange(2_500_000) // 1000.0})
    with uproot.open(path) as file:
        assert len(file["tree/x"].basket(0).block_compression_info) > 1
    compare_file(path, "written")


def test_reasons_and_errors(tmp_path):
    """What is not read says so, and nothing else stops working."""
    path = tmp_path / "file.root"
    with uproot.recreate(path) as file:
        file.mktree("tree", {"x": "f8"})
        file["tree"].extend({"x": np.arange(3.0)})
        file["ntuple"] = {"x": np.arange(3.0)}
        file["text"] = "no tree"
    trees = list_trees(path)
    assert "ROOT::RNTuple" in trees["ntuple;1"][2]
    columns = trees["tree;1"][2]
    assert columns[0].kind == "flat"

    def run(*args):
        done = subprocess.run([READTREE, *args], capture_output=True, check=False)
        return done.returncode, done.stderr.decode()

    assert run(path, "nothing", "x", "0", "1")[1].startswith("x: the file has no tree")
    assert "no column" in run(path, "tree", "y", "0", "3")[1]
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
