"""Start, stop, and who owns the socket."""

import fcntl
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

import harness
import wire


def test_wrong_options_exit_with_2_and_say_what_is_wrong(directory):
    file = directory / "config"
    file.write_text("# comment\n\nmemory = 64M\nwrokers = 2\n")
    for flags, message in [
        (["--no-such"], "unknown option --no-such"),
        (["word"], "unknown option word"),
        (["--memory", "much"], "--memory much"),
        (["--workers", "0"], "--workers 0: out of bounds"),
        (["--socket"], "--socket needs a value"),
        (["--socket", "/" + "x" * 200], "the path is too long"),
        (["--config", str(file)], f"{file}:4: unknown key wrokers"),
        (["--config", "/nowhere"], "/nowhere: No such file"),
    ]:
        done = subprocess.run([harness.BINARY, *flags], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2, (flags, done)
        assert message in done.stderr and done.stderr.count("\n") == 1, (flags, done.stderr)


def test_help_and_version(directory):
    done = subprocess.run([harness.BINARY, "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "--idle-exit SECONDS" in done.stdout
    done = subprocess.run([harness.BINARY, "--version"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stdout.startswith("bufferd ")


def test_an_arena_directory_that_is_not_there_is_an_error(start_daemon):
    daemon = start_daemon("--arena-dir", "/nowhere", is_ready=False)
    assert daemon.wait(20) == 1
    assert "/nowhere" in daemon.log()
    daemon.is_judged = True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order(daemon, number):
    with daemon.connect() as client:
        daemon.stop(number)
        client.expect_closed()


def test_a_stop_in_the_middle_of_everything(daemon):
    clients = [daemon.connect() for _ in range(20)]
    half = [daemon.connect(hello=False) for _ in range(20)]
    for client in clients:
        for _ in range(50):
            client.send_request("status")
    for client in half:
        client.send(b"\x10\x00")
    daemon.stop()
    for client in clients + half:
        client.expect_closed()
        client.close()


def test_idle_exit(start_daemon):
    daemon = start_daemon("--idle-exit", 1)
    with daemon.connect() as client:
        time.sleep(2.5)
        client.call("status")
    assert daemon.wait(10) == 0
    daemon.judge()
    assert "why=idle" in daemon.log() and not daemon.socket.exists()


def test_the_log_file_is_private_and_gets_the_log(start_daemon, directory):
    path = directory / "own.log"
    daemon = start_daemon("--log-file", path, is_ready=False)
    harness.wait_until(lambda: path.exists() and " info start " in path.read_text(), 20)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert " info stopped " in path.read_text() and daemon.log() == ""


def test_a_log_that_nobody_reads_stops_nothing(directory):
    path = directory / "socket"
    process = subprocess.Popen(
        [harness.BINARY, "--memory", "64M", "--socket", path], stderr=subprocess.PIPE
    )
    harness.wait_until(lambda: connects(path), 20)
    for _ in range(800):  # a line each, more than a pipe holds
        wire.Client(path).close()
    with wire.Client(path) as client:
        client.call("status")
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(25) == 0
    finally:
        process.kill()
        process.stderr.close()


def connects(path):
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


# ---- the socket's path ----


def test_the_socket_is_the_users_alone(daemon):
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600


def test_two_daemons_on_one_socket(daemon, start_daemon):
    second = start_daemon(is_ready=False)
    assert second.wait(20) == 1
    assert "another daemon serves" in second.log()
    second.judge()
    with daemon.connect() as client:
        client.call("status")


def test_of_many_that_start_at_once_one_serves(start_daemon):
    for _ in range(3):
        daemons = [start_daemon(is_ready=False) for _ in range(5)]
        harness.wait_until(lambda: sum(d.process.poll() is None for d in daemons) == 1, 30)
        (winner,) = [d for d in daemons if d.process.poll() is None]
        assert all(d.process.returncode == 1 for d in daemons if d is not winner)
        winner.wait_ready()
        winner.connect().close()
        winner.stop()
        for d in daemons:
            d.judge()


def test_a_lock_that_is_held_decides_even_before_the_other_listens(start_daemon, directory):
    with open(directory / "socket.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        daemon = start_daemon(is_ready=False)
        assert daemon.wait(20) == 1
        assert "another daemon serves" in daemon.log()
        daemon.judge()
    assert not daemon.socket.exists()
    start_daemon().connect().close()  # a lock file without a holder is nobody's


@pytest.mark.skipif(not shutil.which("strace"), reason="delays a system call with strace")
def test_a_lock_file_that_was_replaced_before_it_was_locked_is_not_trusted(directory):
    """One daemon stops between another's open() and flock() of the lock file."""
    path, log = directory / "socket", directory / "log"
    lock = directory / "socket.lock"
    process = subprocess.Popen(
        ["strace", "-D", "-qq", "-o", directory / "trace", "-e", "trace=flock"]
        + ["-e", "inject=flock:delay_enter=1000000:when=1"]
        + [harness.BINARY, "--memory", "64M", "--socket", path, "--log-file", log],
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
    )
    try:
        harness.wait_until(lock.exists, 20)
        lock.unlink()
        harness.wait_until(lambda: connects(path), 20)
        with open(lock) as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.send_signal(signal.SIGTERM)
        assert process.wait(25) == 0
    finally:
        process.kill()
    assert not lock.exists()


def test_a_dead_daemons_socket_is_taken_over(start_daemon):
    first = start_daemon()
    first.kill()
    assert first.socket.exists()
    second = start_daemon()
    second.connect().close()


def test_a_socket_that_answers_without_a_lock_is_not_taken(start_daemon, directory):
    path = directory / "other"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(0)
        daemon = start_daemon(socket=path, is_ready=False)
        assert daemon.wait(20) == 1
        daemon.judge()
    assert path.exists()


def test_a_file_at_the_path_is_not_removed(start_daemon, directory):
    path = directory / "precious"
    path.write_text("data")
    daemon = start_daemon(socket=path, is_ready=False)
    assert daemon.wait(20) == 1
    assert "is no socket" in daemon.log()
    daemon.judge()
    assert path.read_text() == "data"


def test_a_link_at_the_locks_path_is_not_followed(start_daemon, directory):
    target = directory / "target"
    (directory / "socket.lock").symlink_to(target)
    daemon = start_daemon(is_ready=False)
    assert daemon.wait(20) == 1
    daemon.judge()
    assert not target.exists()
    (directory / "socket.lock").unlink()


def test_a_socket_that_was_replaced_meanwhile_is_left_alone(daemon):
    daemon.socket.unlink()
    daemon.socket.write_text("someone else's")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait() == 0
    daemon.judge()
    assert daemon.socket.read_text() == "someone else's"


def test_the_default_directory_is_made_private(start_daemon, directory):
    path = directory / "bufferd" / "socket"
    daemon = start_daemon(socket=path, pass_socket=False, env={"XDG_RUNTIME_DIR": str(directory)})
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    daemon.connect().close()


def test_a_link_in_place_of_the_default_directory_is_refused(start_daemon, directory):
    (directory / "elsewhere").mkdir()
    (directory / "bufferd").symlink_to(directory / "elsewhere")
    daemon = start_daemon(pass_socket=False, is_ready=False, env={"XDG_RUNTIME_DIR": str(directory)})
    assert daemon.wait(20) == 1
    assert "is no directory" in daemon.log()
    daemon.judge()
    assert not list((directory / "elsewhere").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user")
def test_another_users_default_directory_is_refused(start_daemon, directory):
    (directory / "bufferd").mkdir()
    os.chown(directory / "bufferd", 12345, 12345)
    daemon = start_daemon(pass_socket=False, is_ready=False, env={"XDG_RUNTIME_DIR": str(directory)})
    assert daemon.wait(20) == 1
    assert "belongs to another user" in daemon.log()
    daemon.judge()


def test_a_socket_passed_by_the_service_manager_is_served_and_stays(directory):
    path = directory / "activated"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(8)
    script = 'exec 3<&"$1"; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$2" --memory 64M --log-file "$3"'
    os.set_inheritable(listening.fileno(), True)
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", str(listening.fileno()), harness.BINARY, directory / "log"],
        pass_fds=[listening.fileno()],
    )
    try:
        with wire.Client(path, timeout=20) as client:
            client.call("status")
        process.send_signal(signal.SIGTERM)
        assert process.wait(25) == 0
    finally:
        process.kill()
        listening.close()
    assert path.exists()


def test_the_descriptor_limit_is_raised_to_hard(start_daemon):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        daemon = start_daemon()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE) == (hard, hard)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all of it")
def test_its_memory_is_closed_to_its_own_user(daemon):
    with pytest.raises(PermissionError):
        open(f"/proc/{daemon.pid}/mem", "rb")


def test_closed_standard_descriptors_are_filled(directory):
    path = directory / "socket"
    script = 'exec "$1" --memory 64M --socket "$2" --log-file "$3" <&- >&- 2>&-'
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", harness.BINARY, path, directory / "log"]
    )
    harness.wait_until(lambda: connects(path), 20)
    try:
        if os.geteuid() == 0:
            for fd in range(3):
                assert os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/null"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(25) == 0
