"""Fixtures: a daemon of our own, ROOT files to read, programs to run in other processes.

The package is found by PYTHONPATH, or in the build directory ($BUFFERD_BUILD, default `build`). The
daemon is $BUFFERD_DAEMON, else the one of the build directory. Real files are those of
$BUFFERD_CORPUS, else of ../shared/data beside the repository; where there are none, the files that
are made here stand in for them.
"""

import contextlib
import gc
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUFFERD_BUILD", ROOT / "build")).resolve()
PACKAGE = BUILD / "client" / "python"

if PACKAGE.is_dir():
    sys.path.insert(0, str(PACKAGE))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH")))
    )
os.environ.pop("BUFFERD_SOCKET", None)

import nano  # noqa: E402


def daemon_program():
    program = os.environ.get("BUFFERD_DAEMON", str(BUILD / "daemon" / "bufferd"))
    if not os.access(program, os.X_OK):
        pytest.fail(f"no daemon at {program}: build it, or set BUFFERD_DAEMON")
    return program


class Daemon:
    """A bufferd process on a socket of its own."""

    def __init__(self, memory="512M", workers=2, path=None):
        self.directory = path or tempfile.mkdtemp(prefix="bufferd-test-")
        self.socket = os.path.join(self.directory, "socket")
        self.arguments = ["--socket", self.socket, "--memory", memory, "--workers", str(workers)]
        self.log = os.path.join(self.directory, "log")
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [daemon_program(), *self.arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
                s.connect(self.socket)
                return
            time.sleep(0.01)
        pytest.fail(f"the daemon did not start:\n{pathlib.Path(self.log).read_text()}")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_daemon():
    daemon = Daemon()
    yield daemon
    daemon.stop()


@pytest.fixture
def daemon(shared_daemon, monkeypatch):
    """A daemon that all tests of the session share; empty, and the default of this process."""
    import bufferd

    monkeypatch.setenv("BUFFERD_SOCKET", shared_daemon.socket)
    connection = bufferd.node.node().connection()
    assert connection is not None
    gc.collect()  # arrays in reference cycles hold their memory
    connection.session.evict("*")
    return shared_daemon


@pytest.fixture
def own_daemon(monkeypatch, tmp_path):
    """A daemon that the test may stop, kill or fill."""
    daemons = []

    def make(**options):
        directory = tempfile.mkdtemp(prefix="bufferd-test-")
        daemons.append(Daemon(path=directory, **options))
        monkeypatch.setenv("BUFFERD_SOCKET", daemons[-1].socket)
        return daemons[-1]

    yield make
    for each in daemons:
        each.stop()


@pytest.fixture
def no_daemon(monkeypatch, tmp_path):
    """A socket nobody listens on."""
    monkeypatch.setenv("BUFFERD_SOCKET", str(tmp_path / "nobody"))


@pytest.fixture(autouse=True)
def new_process(monkeypatch):
    """What is said once per process is said once per test; what others opened is not known."""
    import bufferd.files
    import bufferd.node

    monkeypatch.setattr(bufferd.node, "_once", set())
    bufferd.files.known_files.__init__()


@pytest.fixture(scope="session")
def corpus():
    """The directory of real ROOT files, or None."""
    for place in (os.environ.get("BUFFERD_CORPUS"), ROOT.parent / "shared" / "data"):
        if place and pathlib.Path(place).is_dir():
            return pathlib.Path(place)
    return None


@pytest.fixture(scope="session")
def made_files(tmp_path_factory):
    """NanoAOD-like files by codec name, several baskets each."""
    directory = tmp_path_factory.mktemp("nano")
    return {codec: nano.make(directory / f"{codec}.root", codec) for codec in nano.CODECS}


@pytest.fixture(params=nano.CODECS)
def made_file(request, made_files):
    return made_files[request.param]


@pytest.fixture
def nano_file(made_files):
    return made_files["zstd"]


@pytest.fixture
def fresh_file(tmp_path):
    """A file that no other test has opened, so nothing of it can be in the daemon."""
    return nano.make(tmp_path / "fresh.root", "lz4")


def run_python(code, *args, check=True, **kwargs):
    """Run a program in another process; its last line of output is JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        **kwargs,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
