"""Clients that die, and stops that come, while buffers are pinned, put and loaded."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest

from harness import wait_until
from session import ITEM_U1, PAGE, Session, ask_for_all

def holder(path, pipe):
    """A process that puts an array, pins it, and waits for its death."""
    with Session(path) as session:
        reply = session.put("named/held", b"x" * 100000)
        session.pin(reply["record"])
        session.call("status", ack=reply["grant"])
        os.write(pipe, b"!")
        time.sleep(60)


def fork(run, *arguments):
    pid = os.fork()
    if pid == 0:
        try:
            run(*arguments)
        finally:
            os._exit(1)
    return pid


def test_a_killed_clients_pins_are_gone_at_once(daemon):
    with Session(daemon.socket) as watcher:
        for _ in range(20):
            read_end, write_end = os.pipe()
            pid = fork(holder, daemon.socket, write_end)
            assert os.read(read_end, 1) == b"!"
            os.close(read_end), os.close(write_end)
            assert watcher.ls()["named/held"]["n_pins"] == 1
            assert watcher.call("evict", pattern="*")["n_held"] == 1
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            began = time.monotonic()
            while watcher.ls()["named/held"]["n_pins"]:
                assert time.monotonic() - began < 0.1
            assert watcher.call("evict", pattern="*")["n_freed"] == 1
    daemon.expect_fds_back()


def test_a_stop_while_buffers_are_pinned_and_granted(daemon):
    with Session(daemon.socket) as pinner, Session(daemon.socket) as granted:
        pinner.pin(pinner.put("named/pinned", b"x" * 5000)["record"])
        granted.put("named/granted", b"y" * 5000)
        daemon.stop()


def test_a_stop_between_the_pieces_of_a_put(daemon):
    with Session(daemon.socket) as session:
        session.put("named/whole", b"x")
        session.call("put", key="named/half", item_type=ITEM_U1, total_bytes=1 << 20, n_bytes=1000)
        daemon.stop()


def test_a_client_that_dies_between_the_pieces_of_a_put_leaves_nothing(daemon):
    with Session(daemon.socket) as watcher:
        with Session(daemon.socket) as session:
            session.put("named/whole", b"x")
            session.call("put", key="named/half", item_type=ITEM_U1, total_bytes=1 << 20, n_bytes=1000)
        wait_until(lambda: set(watcher.ls()) == {"named/whole"}, 2, "the end of the half put")
    daemon.expect_fds_back()


def test_a_pin_table_costs_pages_only_where_its_session_pinned(daemon):
    sessions = [Session(daemon.socket) for _ in range(200)]
    record = sessions[0].put("named/a", b"x" * 100)["record"]
    try:
        for session in sessions[:100]:
            session.pin(record)
        assert sessions[-1].ls()["named/a"]["n_pins"] == 100
        for session in sessions[:100]:
            assert os.fstat(session.pins_fd).st_blocks * 512 <= 2 * PAGE
        for session in sessions[100:]:
            assert os.fstat(session.pins_fd).st_blocks * 512 <= PAGE
    finally:
        for session in sessions:
            session.close()


# ---- with files ----


@pytest.fixture(scope="module")
def slow_file(tmp_path_factory):
    """A tree whose columns take a while to unpack."""
    uproot = pytest.importorskip("uproot")
    np = pytest.importorskip("numpy")
    path = tmp_path_factory.mktemp("files") / "slow.root"
    rng = np.random.default_rng(3)
    columns = [f"c{i}" for i in range(12)]
    with uproot.recreate(path, compression=uproot.LZMA(1)) as file:
        tree = file.mktree("Events", {c: "float64" for c in columns})
        for _ in range(3):
            tree.extend({c: rng.integers(0, 1000, 40000) * 0.25 for c in columns})
    return path, columns


def test_the_columns_can_be_had_at_all(daemon, slow_file):
    with Session(daemon.socket, timeout=60) as client:
        reply = client.receive_reply(ask_for_all(client, slow_file), "materialize")
        assert [x["status"] for x in reply["items"]] == [0] * len(slow_file[1])


@pytest.mark.parametrize("delay", [0, 0.001, 0.01, 0.03, 0.1, 0.2, 0.3])
def test_a_stop_in_the_middle_of_loads(daemon, slow_file, delay):
    with Session(daemon.socket, timeout=60) as one, Session(daemon.socket, timeout=60) as two:
        ask_for_all(one, slow_file)
        ask_for_all(two, slow_file)
        time.sleep(delay)
        daemon.stop()


NEVER_ENDING_READS = """
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
ssize_t pread64(int fd, void *data, size_t n, off_t at) { for (;;) pause(); }
ssize_t preadv64(int fd, const struct iovec *v, int n, off_t at) { for (;;) pause(); }
"""


@pytest.fixture
def never_ending_reads(tmp_path):
    """A library to preload: reads of a data file never end, as on a network that is gone."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    library = tmp_path / "reads.so"
    command = ["cc", "-shared", "-fPIC", "-w", "-o", library, "-x", "c", "-"]
    subprocess.run(command, input=NEVER_ENDING_READS, text=True, check=True)
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}


def test_a_read_that_does_not_end_holds_up_neither_others_nor_the_stop(
    start_daemon, slow_file, never_ending_reads
):
    daemon = start_daemon(env=never_ending_reads)
    with daemon.connect() as stuck, daemon.connect() as other:
        fd = os.open(slow_file[0], os.O_RDONLY)
        stuck.send_request("open", [fd], label="slow")
        os.close(fd)
        other.call("status")
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait() == 1
        assert time.monotonic() - began < 5
    daemon.judge()
    assert "error stop-forced running=1" in daemon.log()
    assert not daemon.socket.exists() and not daemon.lock.exists()


def test_clients_that_die_in_the_middle_of_loads_are_nobody_elses_business(daemon, slow_file):
    rng = random.Random(4)
    stop = threading.Event()
    failures = []

    def die_often():
        while not stop.is_set():
            client = Session(daemon.socket, timeout=60)
            ask_for_all(client, slow_file)
            time.sleep(rng.random() * 0.1)
            client.close()

    threads = [threading.Thread(target=die_often) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            with Session(daemon.socket, timeout=60) as client:
                reply = client.receive_reply(ask_for_all(client, slow_file), "materialize")
                failures += [x for x in reply["items"] if x["status"]]
                client.call("evict", pattern="*")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    daemon.expect_fds_back(10, n_files=1)


def test_two_requests_at_once_decode_each_basket_once(daemon, slow_file):
    with Session(daemon.socket, timeout=60) as one, Session(daemon.socket, timeout=60) as two:
        ids = [ask_for_all(client, slow_file) for client in (one, two)]
        replies = [c.receive_reply(i, "materialize") for c, i in zip((one, two), ids)]
        versions = [[(x["record"], x["version"]) for x in r["items"]] for r in replies]
        assert versions[0] == versions[1]
        assert one.status()["baskets_decoded"] == 3 * len(slow_file[1])
