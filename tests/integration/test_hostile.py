"""Clients that break the protocol, flood, stall or hoard: the daemon serves the others and loses nothing."""

import os
import random
import resource
import socket
import struct
import threading
import time

import pytest

import wire
from harness import wait_until


@pytest.fixture
def served(daemon):
    """The daemon; at the end it still serves and has all its descriptors back."""
    yield daemon
    with daemon.connect() as client:
        client.call("status")
    daemon.expect_fds_back()


# ---- frames ----


@pytest.mark.parametrize("length", [0, wire.MAX_REQUEST + 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_that_cannot_be(served, length):
    with served.connect() as client:
        client.send(struct.pack("<I", length) + b"x" * 100)
        client.expect_error("LIMIT", id=0)
        client.expect_closed()


def test_the_largest_frame_is_taken(served):
    with served.connect() as client:
        head = wire.pack([0, 7, "no-such-method", []])
        body = b"\xdb" + struct.pack(">I", wire.MAX_REQUEST - len(head) - 4)
        payload = head[:-5] + b"\xdd" + struct.pack(">I", 1) + body
        payload += b"x" * (wire.MAX_REQUEST - len(payload))
        client.send(wire.frame(payload))
        _, id, error, _ = client.receive()
        assert id == 7 and error is not None


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1",
        b"\x90",
        b"\xff" * 64,
        b"\xdd\xff\x00\x00\x00",  # 4 G elements in five bytes
        b"\x94\x00\x01\xdb\xff\xff\xff\xff",
        b"\x91" * 60000,
        b"\xdd\x00\x00\x00\x01" * 12000,
        wire.pack([0, 1, "status"]),
        wire.pack([0, 1, "status", [0, 0, 0]]),
        wire.pack([0, 1, "status", ["a"]]),
        wire.pack([0, 1, "status", {"ack": 0}]),
        wire.pack([0, -1, "status", [0]]),
        wire.pack([0, 1.5, "status", [0]]),
        wire.pack([3, 1, "status", [0]]),
        wire.pack([1, 1, None, [0]]),  # a response from a client
        wire.pack([0, 1, "status", [0]]) + b"\x00",
        wire.pack([0, 1, "materialize", [0, 0, [["k"]] * 5000]]),
    ],
    ids=lambda p: p[:8].hex(),
)
def test_garbage_is_an_error_and_the_end(served, payload):
    with served.connect() as client:
        client.send(wire.frame(payload))
        client.expect_closed()


def test_an_error_names_the_request_where_its_id_is_known(served):
    with served.connect() as client:
        client.send(wire.frame(wire.pack([0, 77, "status", ["a"]])))
        _, id, error, _ = client.receive()
        assert id == 77 and error[0] == wire.ERRORS["PROTOCOL"]
        client.expect_closed()


def test_hello_comes_first(served):
    with served.connect(hello=False) as client:
        client.send_request("status")
        client.expect_error("PROTOCOL")
        client.expect_closed()


def test_another_version_is_told_so(served):
    with served.connect(hello=False) as client:
        with pytest.raises(wire.WireError) as caught:
            client.call("hello", version=999, client="test", pid=1)
        assert caught.value.code == wire.ERRORS["VERSION"]


def test_random_bytes(served):
    rng = random.Random(20)
    for _ in range(300):
        with served.connect(hello=rng.random() < 0.5) as client:
            data = rng.randbytes(rng.randrange(1, 2000))
            if rng.random() < 0.7:
                data = wire.frame(data)
            try:
                client.send(data)
            except (BrokenPipeError, ConnectionResetError):
                pass


def test_mutated_requests(served):
    rng = random.Random(21)
    good = [
        wire.request(1, "hello", version=1, client="x", pid=1),
        wire.request(2, "materialize", keys=[{"text": "named/a"}, {"text": "named/b"}]),
        wire.request(3, "put", key="named/a", total_bytes=8, n_bytes=8),
        wire.request(4, "ls", pattern="*"),
    ]
    for _ in range(300):
        with served.connect() as client:
            for data in good[1:]:
                bad = bytearray(data)
                for _ in range(rng.randrange(1, 4)):
                    bad[rng.randrange(4, len(bad))] = rng.randrange(256)
                try:
                    client.send(bytes(bad))
                except (BrokenPipeError, ConnectionResetError):
                    break


def test_frames_in_single_bytes(served):
    with served.connect() as client:
        for i in range(3):
            for byte in wire.request(100 + i, "status"):
                client.send(bytes([byte]))
            client.receive_reply(100 + i, "status")


def test_many_frames_in_one_send_are_answered_in_order(served):
    with served.connect(timeout=20) as client:
        client.send(b"".join(wire.request(i, "status") for i in range(1000, 1200)))
        for i in range(1000, 1200):
            client.receive_reply(i, "status")


def test_a_half_frame_is_given_ten_seconds(served):
    with served.connect() as half, served.connect() as slow, served.connect() as good:
        data = wire.request(5, "status")
        half.send(data[:10])
        began = time.monotonic()
        while time.monotonic() - began < 8:
            slow.send(b"\x20\x00\x00\x00"[:1] if time.monotonic() - began < 0.2 else b"\x00")
            good.call("status")
            time.sleep(0.4)
            if time.monotonic() - began > 1.4:
                break
        half.expect_closed(within=12)
        slow.expect_closed(within=12)
        assert time.monotonic() - began > 8
        good.call("status")


# ---- descriptors ----


def open_root_like(directory):
    path = directory / "file"
    path.write_bytes(b"not a file of ours" * 100)
    return os.open(path, os.O_RDONLY)


def test_several_descriptors_in_one_message(served, directory):
    fd = open_root_like(directory)
    try:
        for n in (2, 10, 253):
            with served.connect() as client:
                client.send(wire.request(9, "open", label="x"), [fd] * n)
                client.expect_error("PROTOCOL")
                client.expect_closed()
    finally:
        os.close(fd)


def test_a_second_descriptor_before_the_frame_is_complete(served, directory):
    fd = open_root_like(directory)
    data = wire.request(9, "open", label="x")
    try:
        with served.connect() as client:
            client.send(data[:8], [fd])
            client.send(data[8:12], [fd])
            client.expect_error("PROTOCOL")
            client.expect_closed()
        with served.connect() as client:  # also when the header itself is cut
            client.send(data[:2], [fd])
            client.send(data[2:4], [fd])
            client.expect_error("PROTOCOL")
            client.expect_closed()
    finally:
        os.close(fd)


def test_descriptors_with_frames_that_want_none(served, directory):
    fd = open_root_like(directory)
    try:
        with served.connect() as client:
            for _ in range(200):
                client.call("status", [fd])
            client.send(wire.frame(wire.pack([0, 1, "status", ["a"]])), [fd])
            client.expect_closed()
    finally:
        os.close(fd)


def test_a_descriptor_without_a_frame_goes_with_the_session(served, directory):
    fd = open_root_like(directory)
    clients = [served.connect() for _ in range(50)]
    try:
        for client in clients:
            client.send(b"\x10", [fd])
        clients[0].send(b"\x00")
    finally:
        os.close(fd)
        for client in clients:
            client.close()


def test_an_open_needs_its_descriptor(served):
    with served.connect() as client:
        with pytest.raises(wire.WireError) as caught:
            client.call("open", label="x")
        assert caught.value.code == wire.ERRORS["BAD_DESCRIPTOR"]
        client.call("status")


def test_each_frame_gets_its_own_descriptor(served, directory):
    """Frames with and without one, in pieces and in bunches: an open finds the descriptor sent with it."""
    fd = open_root_like(directory)
    try:
        with served.connect(timeout=20) as client:
            ids = []
            for i in range(60):
                client.send(wire.request(1000 + i, "status") + wire.request(2000 + i, "status")[:7])
                client.send(wire.request(2000 + i, "status")[7:])
                data = wire.request(3000 + i, "open", label="y" * 16 * i)
                client.send(data[: 5 + i], [fd])
                client.send(data[5 + i :])
                ids += [1000 + i, 2000 + i, 3000 + i]
            errors = {}
            for _ in ids:
                _, id, error, _ = client.receive()
                errors[id] = error and error[0]
            assert set(errors) == set(ids)
            for id, code in errors.items():
                assert code == (wire.ERRORS["NOT_ROOT"] if id >= 3000 else None), (id, code)
    finally:
        os.close(fd)


# ---- those who do not read, and those who never stop ----


def flood(client, data, seconds):
    """Send without reading until it would block for good. Return: bytes sent."""
    client.sock.setblocking(False)
    sent, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            sent += client.sock.send(data)
        except BlockingIOError:
            time.sleep(0.02)
        except (BrokenPipeError, ConnectionResetError):
            break
    return sent


def resident_bytes(daemon):
    with open(f"/proc/{daemon.pid}/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def test_a_client_that_does_not_read_is_throttled_then_closed(served):
    before = resident_bytes(served)
    with served.connect() as deaf, served.connect() as good:
        batch = b"".join(wire.request(i, "status") for i in range(500))
        flood(deaf, batch, 2)
        assert resident_bytes(served) - before < 40 << 20
        began = time.monotonic()
        good.call("status")
        assert time.monotonic() - began < 0.5
        wait_until(lambda: "why=unread" in served.log(), 15, "the end of the deaf client")


def test_a_reader_that_is_merely_slow_is_served_to_the_end(served):
    with served.connect(timeout=20) as client:
        n = 3000
        sender = threading.Thread(
            target=lambda: client.sock.sendall(b"".join(wire.request(i, "status") for i in range(1, n + 1)))
        )
        sender.start()
        time.sleep(1.5)
        for i in range(1, n + 1):
            client.receive_reply(i, "status")
        sender.join()


def test_a_flood_does_not_starve_the_others(served):
    stop = time.monotonic() + 3

    def run():
        with served.connect(timeout=20) as client:
            batch = b"".join(wire.request(i, "status") for i in range(200))
            while time.monotonic() < stop:
                client.send(batch)
                for _ in range(200):
                    client.receive()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    slowest = 0
    with served.connect() as good:
        while time.monotonic() < stop:
            began = time.monotonic()
            good.call("status")
            slowest = max(slowest, time.monotonic() - began)
    for thread in threads:
        thread.join()
    assert slowest < 1.0


def test_a_client_that_leaves_with_requests_unanswered(served):
    for _ in range(100):
        client = served.connect()
        for _ in range(30):
            client.send_request("status")
        client.close()


# ---- limits ----


def test_connections_beyond_the_limit_are_refused_and_told_so(served):
    n_allowed = min(
        wire.LIMITS["WIRE_MAX_SESSIONS_UID"], resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 4
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    clients = []
    try:
        clients = [served.connect(timeout=20) for _ in range(n_allowed)]
        for _ in range(5):
            with served.connect(hello=False) as refused:
                refused.expect_error("LIMIT", id=0)
                refused.expect_closed()
        clients.pop().close()
        wait_until(lambda: connects_again(served), 5, "room for another connection")
        clients[0].call("status")
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connects_again(daemon):
    try:
        daemon.connect().close()
        return True
    except (wire.WireError, wire.Closed, BrokenPipeError):
        return False


def test_accept_pauses_when_descriptors_run_out(served):
    if served.count_fds() is None:
        pytest.skip("the daemon's descriptors cannot be counted")
    limits = resource.prlimit(served.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(served.pid, resource.RLIMIT_NOFILE, (served.count_fds() + 6, limits[1]))
    clients = [served.connect(hello=False) for _ in range(30)]
    try:
        wait_until(lambda: "accept-paused" in served.log(), 5, "the pause")
        time.sleep(1.2)
        cpu = cpu_seconds(served)
        time.sleep(1)
        assert cpu_seconds(served) - cpu < 0.3, "it spins"
    finally:
        for client in clients:
            client.close()
        resource.prlimit(served.pid, resource.RLIMIT_NOFILE, limits)
    wait_until(lambda: connects_again(served), 5, "accepting again")


def cpu_seconds(daemon):
    with open(f"/proc/{daemon.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_descriptor_lost_to_a_full_table_ends_that_session_alone(served, directory):
    if served.count_fds() is None:
        pytest.skip("the daemon's descriptors cannot be counted")
    fd = open_root_like(directory)
    limits = resource.prlimit(served.pid, resource.RLIMIT_NOFILE)
    with served.connect() as loser, served.connect() as other:
        resource.prlimit(served.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            loser.send(wire.request(9, "open", label="x"), [fd])
            loser.expect_error("PROTOCOL")
            loser.expect_closed()
        finally:
            resource.prlimit(served.pid, resource.RLIMIT_NOFILE, limits)
            os.close(fd)
        other.call("status")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_is_refused(served, directory):
    directory.chmod(0o755)
    served.socket.chmod(0o666)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(12345, 12345, 12345)
            os.setresuid(12345, 12345, 12345)
            with wire.Client(served.socket, hello=False) as client:
                client.expect_error("DENIED", id=0)
                client.expect_closed()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "error=denied" in served.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_the_socket_keeps_another_user_out_by_its_mode(served, directory):
    directory.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setresgid(12345, 12345, 12345)
            os.setresuid(12345, 12345, 12345)
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(served.socket))
        except PermissionError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_connect_and_leave_a_thousand_times(served):
    for i in range(1000):
        client = served.connect(hello=i % 2 == 0)
        client.close()
    log = lambda: served.log()
    wait_until(lambda: log().count("session-close") >= 1000, 10, "all sessions' ends")
