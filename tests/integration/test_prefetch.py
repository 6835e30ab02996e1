"""Prefetch scopes, waiting for memory, files that were closed: who leaves takes nothing from others."""

import os
import time

import pytest

from harness import wait_until
from session import ITEM_U1, Session, ask_for_all

MIB = 1 << 20
SCOPE_STATUS, SCOPE_WAIT, SCOPE_CANCEL = range(3)
FULL, NEED_FD = 15, 5


@pytest.fixture(scope="module")
def jagged_file(tmp_path_factory):
    """Jagged and flat columns, baskets of 1,000 entries, LZMA."""
    uproot, np, ak = (pytest.importorskip(x) for x in ("uproot", "numpy", "awkward"))
    path = tmp_path_factory.mktemp("files") / "jagged.root"
    rng = np.random.default_rng(7)
    with uproot.recreate(path, compression=uproot.LZMA(1)) as file:
        tree = file.mktree("Events", {"x": "float64", "J": "var * float32", "K": "var * float64"})
        for _ in range(20):
            counts = rng.integers(0, 30, 1000)
            n = int(counts.sum())
            tree.extend(
                {
                    "x": rng.random(1000),
                    "J": ak.unflatten(rng.random(n).astype("f4"), counts),
                    "K": ak.unflatten(rng.random(n), counts),
                }
            )
    time.sleep(0.05)
    return path


def open_in(session, path):
    fd = os.open(path, os.O_RDONLY)
    source = session.call("open", [fd], label=str(path))["source_id"]
    os.close(fd)
    return source


def keys_of(source, start, stop):
    column = f"column/{source:016x}/Events;1/{start}-{stop}"
    return [{"text": f"{column}/{c}"} for c in ("J/data", "J/offsets", "x/data", "K/data", "K/offsets")]


@pytest.mark.parametrize("way", ["cancel", "close"])
def test_who_leaves_a_prefetch_takes_nothing_from_the_other(daemon, jagged_file, way):
    with Session(daemon.socket, timeout=60) as watcher:
        source = open_in(watcher, jagged_file)
        for i in range(30):
            watcher.call("evict", pattern="*")
            one, two = Session(daemon.socket, timeout=60), Session(daemon.socket, timeout=60)
            open_in(one, jagged_file), open_in(two, jagged_file)
            keys = keys_of(source, 1500 + i, 18500 - i)
            scopes = [s.call("prefetch", nthreads=1 + i % 2, keys=keys)["scope"] for s in (one, two)]
            time.sleep(0.0005 * (i % 10))
            if way == "cancel":
                one.call("scope", scope=scopes[0], action=SCOPE_CANCEL)
            one.close()
            done = two.call("scope", scope=scopes[1], action=SCOPE_WAIT)
            assert (done["n_ready"], done["n_failed"]) == (len(keys), 0), done["failures"]
            two.close()


def test_a_demand_joins_a_prefetch_and_survives_its_end(daemon, jagged_file):
    with Session(daemon.socket, timeout=60) as one, Session(daemon.socket, timeout=60) as two:
        source = open_in(one, jagged_file)
        open_in(two, jagged_file)
        keys = keys_of(source, 700, 19300)
        scope = one.call("prefetch", nthreads=1, keys=keys)["scope"]
        id = two.send_request("materialize", keys=keys)
        one.call("scope", scope=scope, action=SCOPE_CANCEL)
        assert [x["status"] for x in two.receive_reply(id, "materialize")["items"]] == [0] * len(keys)


def test_several_that_wait_for_memory(start_daemon, jagged_file):
    daemon = start_daemon(memory="16M")
    with Session(daemon.socket, timeout=60) as holder:
        source = open_in(holder, jagged_file)
        record = holder.put("named/big", os.urandom(14 * MIB))["record"]
        holder.pin(record)
        waiters = [Session(daemon.socket, timeout=60) for _ in range(4)]
        ids = []
        for i, waiter in enumerate(waiters):
            open_in(waiter, jagged_file)
            keys = keys_of(source, 100 * i, 20000 - i)
            ids.append(waiter.send_request("materialize", flags=1, keys=keys))
        for _ in range(3):
            began = time.monotonic()
            holder.call("status", ack=1 << 62)
            assert time.monotonic() - began < 2, "the loop spins"
            time.sleep(0.5)
        holder.close()
        for waiter, id in zip(waiters, ids):
            reply = waiter.receive_reply(id, "materialize")
            assert {x["status"] for x in reply["items"]} <= {0, FULL}
            waiter.close()


def test_what_cannot_be_met_evicts_nothing(daemon):
    with Session(daemon.socket) as session:
        record = session.put("named/pinned", os.urandom(8 * MIB))["record"]
        session.pin(record)
        for i in range(20):
            session.put(f"named/{i}", os.urandom(MIB))
        session.map(3)
        with pytest.raises(Exception, match="largest free range"):
            session.call("put", ack=1 << 62, key="named/huge", item_type=ITEM_U1,
                         total_bytes=60 * MIB, n_bytes=1000)
        assert len(session.ls()) == 21


def test_a_put_can_begin_anew_and_does_not_block_its_key(daemon):
    with Session(daemon.socket) as one, Session(daemon.socket, timeout=20) as two:
        one.put("named/a", b"x")
        half = dict(key="named/half", item_type=ITEM_U1, total_bytes=100, n_bytes=50)
        assert not one.call("put", **half)["is_done"]
        assert not one.call("put", **half)["is_done"], "anew"
        assert one.call("put", **half, at=50)["is_done"]
        one.call("put", **{**half, "key": "named/left"})
        with pytest.raises(Exception, match="put it again"):
            two.put("named/left", b"y" * 100)
        assert two.put("named/left", b"y" * 100)["is_done"]


def test_a_file_whose_descriptor_was_closed(start_daemon, tmp_path):
    uproot = pytest.importorskip("uproot")
    daemon = start_daemon()
    first = tmp_path / "0.root"
    with uproot.recreate(first) as file:
        file.mktree("T", {"x": "int32", "y": "int32"}).extend({"x": [1, 2, 3], "y": [4, 5, 6]})
    image = first.read_bytes()
    time.sleep(0.05)
    with Session(daemon.socket, timeout=60) as session:
        source = open_in(session, first)
        session.call("describe", source_id=source, tree="T")
        key = f"column/{source:016x}/T;1/0-3/%s/data"
        session.call("materialize", keys=[{"text": key % "x"}])
        for i in range(4100):
            path = tmp_path / "more.root"
            path.unlink(missing_ok=True)
            path.write_bytes(image)
            open_in(session, path)
        reply = session.call("materialize", keys=[{"text": key % "x"}, {"text": key % "y"}])
        assert [x["status"] for x in reply["items"]] == [0, NEED_FD]
        assert open_in(session, first) == source
        reply = session.call("materialize", keys=[{"text": key % "y"}])
        assert [x["status"] for x in reply["items"]] == [0]


def test_keys_of_trees_that_nobody_described(daemon, jagged_file):
    with Session(daemon.socket) as session:
        source = open_in(session, jagged_file)
        items = session.call("clear", keys=keys_of(source, 0, 100))["items"]
        assert {x["outcome"] for x in items} == {4}
        assert {x["status"] for x in session.call("get", keys=keys_of(source, 0, 100))["items"]} == {17}
        wait_until(lambda: session.status()["jobs_running"] == 0)


def test_a_tree_path_with_nul_is_no_key(daemon, jagged_file):
    """Cut at the NUL it would be another tree's, and never be found as what was asked for."""
    with Session(daemon.socket) as session:
        source = open_in(session, jagged_file)
        key = f"column/{source:016x}/Events;1%00;1/0-10/x/data"
        reply = session.call("materialize", keys=[{"text": key}])
        assert [x["status"] for x in reply["items"]] == [19], "bad key"


def test_all_columns_of_a_file_at_once(daemon, jagged_file):
    with Session(daemon.socket, timeout=60) as session:
        id = ask_for_all(session, (jagged_file, ["x"]))
        assert session.receive_reply(id, "materialize")["items"][0]["status"] == 10, "out of range"
