"""Memory that comes back, many sessions, and loads that take long."""

import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import time

import pytest

import wire
from harness import wait_until
from session import PAGE, Session, ask_for_all
from wire import WireError

MIB = 1 << 20
FULL = 15
CLEAR_FREED, CLEAR_HELD_BY_YOU, CLEAR_HELD_BY_OTHERS, CLEAR_KEPT, CLEAR_ABSENT = range(5)


def blocks(session):
    """Bytes of the arena's file, as the kernel counts them."""
    return session.status()["arena_file_bytes"]


def clear(session, *keys, force=0):
    items = session.call("clear", force=force, keys=[{"text": k} for k in keys])["items"]
    return [(x["outcome"], x["bytes"]) for x in items]


def test_what_clear_freed_the_kernel_has_back_after_trim(start_daemon):
    daemon = start_daemon(memory="128M")
    with Session(daemon.socket) as session:
        keys = [f"named/{i}" for i in range(6)]
        for key in keys:
            session.put(key, os.urandom(8 * MIB))
        session.call("trim")
        full = blocks(session)
        assert full == 48 * MIB == session.status()["arena_live_bytes"]
        acked = session.call("get", keys=[{"text": "named/0"}])["grant"]
        assert acked
        cleared = session.call("clear", ack=acked, keys=[{"text": k} for k in keys[1:4]])["items"]
        assert [x["outcome"] for x in cleared] == [CLEAR_FREED] * 3
        assert blocks(session) == full, "the pages are kept for the next buffer"
        assert session.call("trim")["bytes"] == 24 * MIB
        assert blocks(session) == 24 * MIB == session.status()["arena_live_bytes"]
        for round in range(20):
            session.put("named/1", os.urandom(8 * MIB))
            session.call("clear", ack=1 << 62, keys=[{"text": "named/1"}])
        session.call("trim")
        assert blocks(session) == 24 * MIB


def account(session):
    """What the daemon says is populated; the same as what the kernel says, when its helper is idle."""
    status = None

    def is_settled():
        nonlocal status
        status = session.status()
        return status["arena_live_bytes"] + status["arena_stock_bytes"] == status["arena_file_bytes"]

    wait_until(is_settled, 3, "the account equals the blocks of the file")
    return status


@pytest.mark.parametrize("flags", [(), ("--arena-dir", "/dev/shm")], ids=["default", "small pages"])
def test_the_account_equals_the_blocks_of_the_file(start_daemon, flags):
    daemon = start_daemon(*flags, "--stock", "32M", memory="512M")
    rng = random.Random(1)
    with Session(daemon.socket, timeout=60) as session:
        unit = session.status()["arena_unit_bytes"]
        account(session)
        sizes = [64 * MIB, 65 * MIB + 1, 100 * MIB - 4097]
        for i, n_bytes in enumerate(sizes):
            session.put_large(f"named/{i}", n_bytes)
        live = sum(-(-n // PAGE) * PAGE for n in sizes)
        assert account(session)["arena_live_bytes"] == live
        freed = session.call("clear", ack=1 << 62, keys=[{"text": "named/1"}])["items"]
        assert [x["outcome"] for x in freed] == [CLEAR_FREED]
        status = account(session)
        assert status["arena_live_bytes"] == live - (65 * MIB + PAGE)
        assert status["arena_file_bytes"] >= live, "kept for the next buffer"
        session.call("trim")
        status = account(session)
        assert status["arena_live_bytes"] == live - (65 * MIB + PAGE)
        assert status["arena_file_bytes"] <= status["arena_live_bytes"] + 2 * len(sizes) * unit
        for round in range(1000):
            n_bytes = rng.choice(sizes) if round % 100 == 0 else rng.randrange(1, 2 * MIB)
            key = f"named/round-{rng.randrange(40)}"
            if session.put_large(key, n_bytes)["was_present"]:
                session.call("clear", ack=1 << 62, keys=[{"text": key}])
            if round % 100 == 50:
                session.call("trim")
                account(session)
        before = account(session)
        assert before["buffers_evicted"] > 0 or before["arena_live_bytes"] < 512 * MIB
        session.call("evict", ack=1 << 62, pattern="*")
        session.call("trim")
        status = account(session)
        assert status["arena_live_bytes"] == 0 == status["arena_file_bytes"]


def test_a_refusal_says_who_pins(start_daemon):
    daemon = start_daemon(memory="32M")
    with Session(daemon.socket) as one, Session(daemon.socket) as two:
        one.pin(one.put_large("named/a", 24 * MIB)["record"])
        with pytest.raises(WireError) as refused:
            two.put_large("named/b", 16 * MIB)
        text = str(refused.value)
        assert "full: 16.0 MiB needed" in text and "pinned 24.0" in text
        assert f"24.0 by pid {os.getpid()} (test)" in text


def test_clear_says_what_became_of_each(daemon):
    with Session(daemon.socket) as one, Session(daemon.socket) as two:
        record = one.put("named/a", b"x" * 100)["record"]
        assert clear(one, "named/nothing") == [(CLEAR_ABSENT, 0)]
        assert clear(two, "named/a") == [(CLEAR_HELD_BY_OTHERS, 100)], "granted to one"
        one.call("ls", ack=1)
        two.pin(record)
        assert clear(one, "named/a") == [(CLEAR_HELD_BY_OTHERS, 100)]
        assert clear(two, "named/a") == [(CLEAR_HELD_BY_YOU, 100)]
        assert one.ls()["named/a"]["state"] == b"retiring"
        assert clear(two, "named/a") == [(CLEAR_ABSENT, 0)]
        two.close()
        wait_until(lambda: "named/a" not in one.ls(), 0.5, "the end of the last pin")


def test_what_another_session_may_want_is_kept(daemon, tmp_path):
    uproot = pytest.importorskip("uproot")
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mktree("Events", {"x": "float64"}).extend({"x": [1.0, 2.0, 3.0]})
    time.sleep(0.05)  # a file that was written a moment ago could still change without a trace

    def open_in(session):
        fd = os.open(path, os.O_RDONLY)
        source = session.call("open", [fd], label="a.root")["source_id"]
        os.close(fd)
        return source

    with Session(daemon.socket) as one, Session(daemon.socket) as two:
        key = f"column/{open_in(one):016x}/Events;1/0-3/x/data"
        assert open_in(two) == open_in(one)
        reply = one.call("materialize", keys=[{"text": key}])
        assert [x["status"] for x in reply["items"]] == [0]
        one.call("ls", ack=reply["grant"])
        assert clear(one, key) == [(CLEAR_KEPT, 24)]
        assert clear(one, key, force=1) == [(CLEAR_FREED, 24)]
        reply = one.call("materialize", keys=[{"text": key}])
        two.close()
        wait_until(lambda: one.status()["sessions"] == 1)
        one.call("ls", ack=reply["grant"])
        assert clear(one, key) == [(CLEAR_FREED, 24)]


def test_a_thousand_sessions_that_touched_few_records(start_daemon):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    daemon = start_daemon()
    sessions = []
    try:
        for _ in range(1000):
            sessions.append(Session(daemon.socket))
        records = [sessions[0].put(f"named/{i}", b"x")["record"] for i in range(3)]
        for session in sessions:
            for record in records:
                session.pin(record)
        assert [x["n_sessions"] for x in sessions[0].ls().values()] == [1000] * 3
        pages = sum(os.fstat(s.pins_fd).st_blocks * 512 for s in sessions) / PAGE
        print(f"{pages / 1000:.2f} pages for the pin table of a session")
        assert pages <= 2 * 1000
    finally:
        for session in sessions:
            session.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    daemon.expect_fds_back(10)


# ---- a limit of memory ----


@pytest.fixture
def memory_group():
    """A v1 memory cgroup of 256 MiB of our own."""
    group = pathlib.Path(f"/sys/fs/cgroup/memory/bufferd-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(256 * MIB))
    except OSError:
        pytest.skip("no cgroup (v1, memory) can be made here")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text().strip(), 10, "an empty cgroup")
    group.rmdir()


def test_a_neighbour_in_the_same_cgroup_gets_memory_back(start_daemon, memory_group):
    daemon = start_daemon("--stock", "0", memory="1G")
    (memory_group / "cgroup.procs").write_text(str(daemon.pid))
    with Session(daemon.socket, timeout=30) as session:
        refused = 0
        for i in range(40):
            try:
                session.put(f"named/{i}", os.urandom(8 * MIB))
                session.call("ls", ack=1 << 62, pattern="no")
            except wire.WireError as e:
                assert e.code == FULL
                refused += 1
        assert refused, "it grew beyond the limit of its cgroup"
        neighbour = subprocess.Popen(
            [sys.executable, "-c", "import time\nx = []\nfor i in range(12):\n"
             "    x.append(bytearray(b'x' * (10 << 20)))\n    time.sleep(0.6)\n"],
            preexec_fn=lambda: (memory_group / "cgroup.procs").write_text(str(os.getpid())),
        )
        assert neighbour.wait(60) == 0
        assert session.status()["buffers_evicted"] > 0
    assert "oom_kill 0" in (memory_group / "memory.oom_control").read_text()
    daemon.stop()


# ---- long loads ----

SLOW_READS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static ssize_t (*next)(int, void *, size_t, off_t);
ssize_t pread64(int fd, void *data, size_t n, off_t at) {
    if (!next)
        next = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
    if (n > 4096)
        usleep(900000);
    return next(fd, data, n, at);
}
"""


@pytest.fixture
def slow_reads(tmp_path):
    """A library to preload: every read of baskets takes 0.9 s."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    library = tmp_path / "slow.so"
    command = ["cc", "-shared", "-fPIC", "-w", "-o", library, "-x", "c", "-", "-ldl"]
    subprocess.run(command, input=SLOW_READS, text=True, check=True)
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}


def test_a_load_that_takes_longer_than_the_silence_is_no_silence(start_daemon, slow_reads, tmp_path):
    uproot = pytest.importorskip("uproot")
    np = pytest.importorskip("numpy")
    path, columns = tmp_path / "slow.root", [f"c{i}" for i in range(14)]
    rng = np.random.default_rng(5)
    with uproot.recreate(path, compression=uproot.LZ4(1)) as file:
        tree = file.mktree("Events", {c: "float64" for c in columns})
        for _ in range(3):
            tree.extend({c: rng.random(40000) for c in columns})
    daemon = start_daemon(env=slow_reads)
    with Session(daemon.socket, timeout=60) as client:
        began = last = time.monotonic()
        id, gaps, n_progress = ask_for_all(client, (path, columns)), [], 0
        while True:
            kind, *rest = client.receive()
            gaps.append(time.monotonic() - last)
            last = time.monotonic()
            if kind == 1:
                break
            n_progress += 1
        assert rest[0] == id and rest[1] is None
        took = time.monotonic() - began
        assert took > 5.5, "slower than any client would bear in silence"
        assert n_progress >= took / 2 and max(gaps) < 2.5
        assert client.status()["baskets_decoded"] == 3 * len(columns)
