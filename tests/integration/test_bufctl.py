"""bufctl against a daemon of its own, with uproot as the judge of what it prints."""

import json
import os
import re
import shutil
import subprocess
import tempfile

import awkward as ak
import numpy as np
import pytest
import uproot

import harness

BUFCTL = os.environ.get("BUFFERD_BUFCTL", str(harness.ROOT / "build" / "client" / "bufctl" / "bufctl"))

N_ENTRIES = 1000


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """A file with flat and jagged branches, one that bufferd does not read, and a second tree."""
    path = tmp_path_factory.mktemp("files") / "odd:name.root"
    rng = np.random.default_rng(1)
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as f:
        types = {"Muon": "var * {pt: float32, charge: int32}", "MET_pt": "float64", "flag": "bool",
                 "pair": "2 * float32", "word": "string"}
        tree = f.mktree("dir/Events", types)
        for n in (300, 500, 200):
            counts = rng.poisson(1.5, n)
            pt = rng.exponential(20, counts.sum()).astype("float32")
            charge = rng.choice([-1, 1], counts.sum()).astype("int32")
            tree.extend({
                "Muon": ak.unflatten(ak.zip({"pt": pt, "charge": charge}), counts),
                "MET_pt": np.where(rng.uniform(size=n) < 0.01, np.nan, rng.exponential(30, n)),
                "flag": rng.uniform(size=n) < 0.5,
                "pair": rng.normal(size=(n, 2)).astype("float32"),
                "word": ak.Array(["x"] * n),
            })
        f.mktree("Runs", {"run": "int64"}).extend({"run": np.arange(3)})
    return str(path)


@pytest.fixture(scope="module")
def socket():
    directory = tempfile.mkdtemp(prefix="bufferd-test-")
    daemon = harness.Daemon(directory, memory="256M").wait_ready()
    yield str(daemon.socket)
    daemon.end()
    shutil.rmtree(directory)


def bufctl(*words, socket=None, env=None):
    command = [BUFCTL, *words] + (["--socket", socket] if socket else [])
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, **(env or {})})


def good(*words, socket):
    done = bufctl(*words, socket=socket)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def good_json(*words, socket):
    return json.loads(good(*words, "--json", socket=socket))


def bad(*words, code, socket=None, env=None):
    done = bufctl(*words, socket=socket, env=env)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stdout == ""
    return done.stderr


# ---- what goes wrong ----


@pytest.mark.parametrize("words", [
    [], ["nonsense"], ["cat"], ["cat", "a", "b"], ["ls", "a", "b"], ["evict"], ["tree"],
    ["evict", "x", "--all"], ["status", "--entries", "0:1"], ["status", "--nonsense"],
    ["prefetch", "x"], ["prefetch", "x", "y", "--threads", "0"],
])
def test_wrong_usage(words):
    assert "bufctl" in bad(*words, code=2)


@pytest.mark.parametrize("words", [
    ["status"], ["ls"], ["evict", "--all"], ["clear", "*"], ["trim"], ["ls", "--json"]])
def test_no_daemon_is_said_and_none_is_started(words, tmp_path):
    os.chmod(tmp_path, 0o700)
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    env["BUFFERD_SOCKET"] = ""
    said = bad(*words, code=3, env=env)
    assert "no bufferd is running" in said and "start" in said
    assert not [p for p in tmp_path.rglob("*") if p.is_socket()]
    nowhere = str(tmp_path / "nowhere")
    assert nowhere in bad(*words, code=3, socket=nowhere)


def test_files_trees_and_branches_that_are_not_there(nano, socket, tmp_path):
    other = tmp_path / "text.root"
    other.write_text("not a ROOT file" * 100)
    assert "no such file" in bad("tree", "/nowhere/x.root:Events", code=1, socket=socket)
    assert "ROOT" in bad("tree", str(other), code=1, socket=socket)
    assert "dir/Events" in bad("tree", f"{nano}:Event", code=1, socket=socket)
    assert "no branch" in bad("cat", f"{nano}:dir/Events/nope", code=1, socket=socket)
    assert "no branch" in bad("prefetch", f"{nano}:dir/Events", "nope_*", code=1, socket=socket)
    assert "FILE:TREE/BRANCH" in bad("cat", f"{nano}:dir/Events", code=2, socket=socket)
    assert "several trees" in bad("prefetch", nano, "x", code=1, socket=socket)


def test_ranges(nano, socket):
    where = f"{nano}:dir/Events/MET_pt"
    assert "1000" in bad("cat", where, "--entries", "0:1001", code=1, socket=socket)
    assert "range" in bad("cat", where, "--entries", "zero:one", code=2, socket=socket)
    assert good("cat", where, "--entries", "5:5", socket=socket) == ""


def test_what_is_not_supported_says_why(socket, tmp_path):
    path = tmp_path / "tuple.root"
    with uproot.recreate(path) as f:
        f.mkrntuple("T", {"x": "int64"}).extend({"x": np.arange(3)})
    for words in (["tree", f"{path}:T"], ["cat", f"{path}:T/x"], ["prefetch", f"{path}:T", "x"]):
        said = bad(*words, code=1, socket=socket)
        assert "RNTuple" in said and "bufctl tree" not in said, "it says why, and nothing that does not help"


def test_a_reader_that_stops_is_no_error(nano, socket):
    p = subprocess.Popen([BUFCTL, "cat", f"{nano}:dir/Events/Muon_pt", "--socket", socket],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.readline()
    p.stdout.close()
    assert p.stderr.read() == b""
    p.stderr.close()
    assert p.wait(20) == 0


def test_a_full_disk_is_an_error(nano, socket):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([BUFCTL, "cat", f"{nano}:dir/Events/MET_pt", "--socket", socket],
                              stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "cannot write" in done.stderr


# ---- what it shows ----


def test_help_and_version():
    listed = re.findall(r"^  ([a-z]+) ", bufctl("--help").stdout, re.MULTILINE)
    assert {"status", "ls", "tree", "cat", "prefetch", "clear", "evict", "trim"} <= set(listed)
    for name in ("status", "ls", "tree", "cat", "prefetch", "clear", "evict", "trim"):
        done = bufctl(name, "--help")
        assert done.returncode == 0 and f"usage: bufctl {name}" in done.stdout
    assert re.fullmatch(r"bufctl \d+\.\d+\.\d+\n", bufctl("--version").stdout)


def test_tree_lists_every_branch(nano, socket):
    shown = good_json("tree", f"{nano}:dir/Events", socket=socket)
    with uproot.open(nano) as f:
        tree = f["dir/Events"]
        assert [c["name"] for c in shown["columns"]] == tree.keys()
        for c in shown["columns"]:
            assert c["supported"] and not c["reason"]
            assert c["type"] == tree[c["name"]].typename
            assert c["baskets"] == tree[c["name"]].num_baskets
            assert c["entries"] == N_ENTRIES
        assert shown["entries"] == N_ENTRIES
    columns = {c["name"]: c for c in shown["columns"]}
    assert columns["Muon_pt"]["counter"] == "nMuon" and columns["MET_pt"]["counter"] is None
    assert columns["Muon_pt"]["item_type"] == "float32" and columns["pair"]["items_per_entry"] == 2


def test_tree_of_a_file_with_several(nano, socket):
    shown = good_json("tree", nano, socket=socket)
    assert sorted(t["tree"] for t in shown["trees"]) == ["Runs;1", "dir/Events;1"]
    assert "columns" not in shown
    text = good("tree", nano, socket=socket)
    assert "dir/Events;1" in text and "Runs;1" in text


@pytest.mark.parametrize("branch", ["Muon_pt", "Muon_charge", "nMuon", "MET_pt", "flag", "pair", "word"])
@pytest.mark.parametrize("start, stop", [(0, N_ENTRIES), (250, 850), (799, 801), (0, 1)])
def test_cat_equals_uproot(nano, socket, branch, start, stop):
    shown = good_json("cat", f"{nano}:dir/Events/{branch}", "--entries", f"{start}:{stop}",
                      socket=socket)
    with uproot.open(nano) as f:
        array = f["dir/Events"][branch].array(entry_start=start, entry_stop=stop)
    dtype = np.asarray(ak.flatten(array, axis=None)).dtype
    expected = ak.to_list(array)
    assert len(shown) == stop - start

    def same(a, b):
        if isinstance(b, list):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(b, float) and np.isnan(b):
            return a is None
        return np.array(a, dtype) == np.array(b, dtype)

    assert all(map(same, shown, expected))


def test_cat_as_text_and_raw(nano, socket):
    where = f"{nano}:dir/Events/Muon_charge"
    lines = good("cat", where, "--entries", ":50", socket=socket).splitlines()
    with uproot.open(nano) as f:
        array = f["dir/Events"]["Muon_charge"].array(entry_stop=50)
    assert lines == [str(entry) for entry in ak.to_list(array)]
    command = [BUFCTL, "cat", where, "--entries", ":50", "--raw", "--socket", socket]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    assert raw == np.asarray(ak.flatten(array), "i4").tobytes()


# ---- what it changes ----


def keys(socket, *words):
    return {b["key"] for b in good_json("ls", *words, socket=socket)["buffers"]}


def columns(socket):
    return {k.split("/", 1)[1].split("/", 1)[1] for k in keys(socket) if k.startswith("column/")}


def test_prefetch_clear_and_evict(nano, socket):
    good("evict", "--all", socket=socket)
    assert columns(socket) == set()
    before = good_json("status", socket=socket)
    loaded = good_json("prefetch", f"{nano}:dir/Events", "Muon_*", "MET_pt", "--threads", "1",
                       socket=socket)
    after = good_json("status", socket=socket)
    assert loaded["n_ready"] == loaded["n_total"] == 4 and loaded["n_failed"] == 0
    assert after["baskets_decoded"] - before["baskets_decoded"] == 4 * 3
    assert columns(socket) >= {
        "dir%2FEvents;1/0-1000/Muon_pt/data", "dir%2FEvents;1/0-1000/Muon_charge/data",
        "dir%2FEvents;1/0-1000/nMuon/offsets", "dir%2FEvents;1/0-1000/MET_pt/data"}

    assert "4 of 4 buffers ready" in good("prefetch", f"{nano}:dir/Events", "Muon_*", "MET_pt",
                                          socket=socket)
    again = good_json("status", socket=socket)
    assert again["baskets_decoded"] == after["baskets_decoded"]

    cleared = good_json("clear", f"{nano}:dir/Events", "Muon_pt", socket=socket)
    assert cleared["freed"]["n_buffers"] == 1 and cleared["freed"]["n_bytes"] > 0
    assert "dir%2FEvents;1/0-1000/Muon_pt/data" not in columns(socket)
    assert "dir%2FEvents;1/0-1000/MET_pt/data" in columns(socket)
    assert "no buffer" in bad("clear", f"{nano}:dir/Events", "Muon_pt", code=1, socket=socket)

    assert "no buffer" in bad("evict", "*/nope/*", code=1, socket=socket)
    evicted = good_json("evict", "*/MET_pt/*", socket=socket)
    assert evicted["n_freed"] == 1 and evicted["n_held"] == 0
    assert "dir%2FEvents;1/0-1000/Muon_charge/data" in columns(socket)
    good("evict", "--all", socket=socket)
    assert columns(socket) == set()
    assert good_json("trim", socket=socket)["n_bytes"] >= 0


def test_ls_shows_what_a_key_means(nano, socket):
    good("prefetch", f"{nano}:dir/Events", "Muon_pt", "--entries", "100:200", socket=socket)
    lines = good("ls", "*/Muon_pt/data", socket=socket).splitlines()
    assert lines[0].split()[:4] == ["FILE", "TREE", "BRANCH", "ENTRIES"]
    assert lines[1].split()[:6] == ["odd:name.root", "dir/Events;1", "Muon_pt", "100-200", "data",
                                    "float32"]
    assert lines[2].startswith("1 buffer, ")
    assert keys(socket, "*/odd:name.root") == keys(socket)
