"""A daemon of one test's own: started on a temporary socket, watched, and stopped under inspection."""

import os
import pathlib
import re
import signal
import subprocess
import time

import wire

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("BUFFERD_DAEMON") or ROOT / "build" / "daemon" / "bufferd"
IMAGE = pathlib.Path(BINARY).read_bytes() if pathlib.Path(BINARY).exists() else b""
IS_SANITIZED = b"__asan_init" in IMAGE or b"__tsan_init" in IMAGE

SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed")


def wait_until(condition, within=5.0, what="the condition"):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {within} s"
        time.sleep(0.01)


class Daemon:
    def __init__(self, directory, *flags, socket=None, memory="64M", env=None, pass_socket=True):
        self.directory = pathlib.Path(directory)
        self.socket = pathlib.Path(socket) if socket else self.directory / "socket"
        self.log_path = self.directory / f"log-{time.monotonic_ns()}"
        command = [str(BINARY), "--memory", memory, "--workers", "2", *map(str, flags)]
        if pass_socket:
            command += ["--socket", str(self.socket)]
        environment = {**os.environ, **(env or {})}
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self.is_judged = False

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, within=20.0):
        def is_ready():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log()}"
            return " info start " in self.log()

        wait_until(is_ready, within, "the start of the daemon")
        self.first_fds = self.count_fds()
        return self

    def count_fds(self):
        """Open descriptors; None where this process may not look (the daemon is not dumpable)."""
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        except OSError:
            return None

    def connect(self, **options):
        return wire.Client(self.socket, **options)

    def expect_fds_back(self, within=3.0, n_files=0):
        """All descriptors are closed but those of files that still have buffers."""
        if self.first_fds is not None:
            n_allowed = self.first_fds + n_files
            wait_until(lambda: self.count_fds() <= n_allowed, within, "closing all descriptors")

    def wait(self, within=10.0):
        return self.process.wait(within)

    def stop(self, number=signal.SIGTERM, within=5.0):
        """Stop it in order; it has to leave nothing behind."""
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(within + (20 if IS_SANITIZED else 1))
        took = time.monotonic() - began
        self.judge()
        assert code == 0, f"it ended with {code}:\n{self.log()}"
        assert took < within or IS_SANITIZED, f"the stop took {took:.1f} s"
        assert " info stopped " in self.log()
        assert not self.socket.exists(), "the socket is still there"
        assert not self.lock.exists(), "the lock file is still there"

    @property
    def lock(self):
        return self.socket.with_name(self.socket.name + ".lock")

    def judge(self):
        """The log holds no sanitizer's report; every line is one of the log's."""
        self.is_judged = True
        text = self.log()
        assert not SANITIZER.search(text), text
        for line in text.splitlines():
            assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn|info|debug) [\w-]+( |$)", line), line

    def kill(self):
        """kill -9, as a test of what survives it."""
        self.process.kill()
        self.process.wait()
        self.judge()

    def end(self):
        """For the fixture: stop what still runs, judge what was not judged."""
        if self.process.poll() is None:
            self.stop()
        elif not self.is_judged:
            self.judge()
            assert self.process.returncode == 0, f"it ended with {self.process.returncode}:\n{self.log()}"
