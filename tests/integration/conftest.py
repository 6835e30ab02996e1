"""Fixtures: `start_daemon(*flags)` starts daemons of this test's own, `daemon` is one of them."""

import pathlib
import shutil
import tempfile

import pytest

import harness


@pytest.fixture
def directory():
    """A directory with a name short enough for a socket's path."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="bufferd-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start_daemon(directory):
    daemons = []

    def start(*flags, is_ready=True, **options):
        daemon = harness.Daemon(directory, *flags, **options)
        daemons.append(daemon)
        return daemon.wait_ready() if is_ready else daemon

    yield start
    failures = []
    for daemon in reversed(daemons):
        try:
            daemon.end()
        except Exception as failure:  # the others have to be stopped too
            failures.append(failure)
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
    if failures:
        raise failures[0]


@pytest.fixture
def daemon(start_daemon):
    return start_daemon()
