"""No basket twice: the daemon's own counters say how often it has decompressed one.

Chunks that are no multiple of the baskets, in any order, by one client or by eight at once; ranges
that overlap; a column whole and in parts. While memory lasts each basket is decompressed once.
"""

import os
import time

import pytest

from session import Session

N_ENTRIES, N_EACH = 250_000, 25_000
COLUMNS = ("J_a/data", "J_b/data", "nJ/offsets", "x/data", "flag/data")
N_BASKETS = 5 * N_ENTRIES // N_EACH  # J_a, J_b, nJ, x, flag


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    uproot, np, ak = (pytest.importorskip(x) for x in ("uproot", "numpy", "awkward"))
    path = tmp_path_factory.mktemp("files") / "chunks.root"
    rng = np.random.default_rng(3)
    with uproot.recreate(path, compression=uproot.ZSTD(1)) as file:
        types = {"J": "var * {a: float32, b: int16}", "x": "float64", "flag": "bool"}
        tree = file.mktree("Events", types)
        for _ in range(N_ENTRIES // N_EACH):
            counts = rng.integers(0, 4, N_EACH)
            n = int(counts.sum())
            values = ak.zip({"a": rng.random(n).astype("f4"), "b": rng.integers(0, 99, n).astype("i2")})
            tree.extend(
                {"J": ak.unflatten(values, counts), "x": rng.random(N_EACH), "flag": rng.random(N_EACH) < 0.5}
            )
    time.sleep(0.05)
    return path


class Reader:
    """One client that asks for ranges, and keeps none of them."""

    def __init__(self, daemon, path):
        self.session = Session(daemon.socket, timeout=60)
        fd = os.open(path, os.O_RDONLY)
        self.source = self.session.call("open", [fd], label=str(path))["source_id"]
        os.close(fd)

    def ask(self, start, stop, columns=COLUMNS):
        where = f"column/{self.source:016x}/Events;1/{start}-{stop}"
        self.id = self.session.send_request("materialize", keys=[{"text": f"{where}/{c}"} for c in columns])
        return self

    def wait(self):
        items = self.session.receive_reply(self.id, "materialize")["items"]
        assert [x["status"] for x in items] == [0] * len(items), items

    def figures(self):
        return {x["name"].decode(): x["value"] for x in self.session.call("status")["items"]}


@pytest.fixture
def reader(start_daemon, path):
    daemon = start_daemon(memory="256M")
    reader = Reader(daemon, path)
    reader.daemon = daemon
    yield reader
    reader.session.close()


def chunks(size):
    return [(start, min(start + size, N_ENTRIES)) for start in range(0, N_ENTRIES, size)]


def expect_once(reader, n=N_BASKETS):
    assert reader.figures()["baskets_decoded"] == n


@pytest.mark.parametrize("size", [7_919, 100_000, N_EACH, N_ENTRIES])
@pytest.mark.parametrize("order", ["forward", "backward"])
def test_chunks_of_one_client(reader, size, order):
    ranges = chunks(size)
    for start, stop in ranges if order == "forward" else reversed(ranges):
        reader.ask(start, stop).wait()
    expect_once(reader)


@pytest.mark.parametrize("size", [7_919, 100_000])
@pytest.mark.parametrize("n_clients", [2, 8])
def test_neighbouring_chunks_at_once(reader, path, size, n_clients):
    others = [Reader(reader.daemon, path) for _ in range(n_clients)]
    ranges = chunks(size)
    for first in range(0, len(ranges), n_clients):
        for other in [o.ask(*r) for o, r in zip(others, ranges[first : first + n_clients])]:
            other.wait()
    expect_once(reader)
    for other in others:
        other.session.close()


def test_all_chunks_at_once(reader, path):
    others = [Reader(reader.daemon, path).ask(*r) for r in chunks(7_919)]
    for other in others:
        other.wait()
    expect_once(reader)
    for other in others:
        other.session.close()


@pytest.mark.parametrize("first, second", [
    ((0, N_ENTRIES), (30_000, 60_000)),  # a part of what is there
    ((30_000, 60_000), (0, N_ENTRIES)),  # what is there is a part
    ((0, 130_000), (70_000, N_ENTRIES)),  # overlap inside baskets
    ((10_000, 130_000), (70_000, 240_000)),
    ((0, 100_000), (50_000, 150_000)),  # overlap in whole baskets
])  # fmt: skip
@pytest.mark.parametrize("way", ["after", "at once"])
def test_ranges_that_overlap(reader, path, first, second, way):
    other = Reader(reader.daemon, path)
    reader.ask(*first)
    if way == "after":
        reader.wait()
    other.ask(*second).wait()
    if way == "at once":
        reader.wait()
    touched = set()
    for start, stop in (first, second):
        touched |= set(range(start // N_EACH, -(-stop // N_EACH)))
    expect_once(reader, 5 * len(touched))
    other.session.close()


def test_neighbouring_baskets_share_reads(reader):
    reader.ask(0, N_ENTRIES).wait()
    figures = reader.figures()
    assert figures["baskets_decoded"] == N_BASKETS
    assert figures["reads"] + figures["reads_merged"] == N_BASKETS
    assert figures["reads"] < N_BASKETS
