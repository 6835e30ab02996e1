"""What a hit costs from Python: `cache[key]` to ndarray, without the daemon.

usage: hits.py DAEMON [N_KEYS...]     (default 1000 100000)

One process has the daemon make N buffers; another one, which never asked for any of them, looks
them up: the first time by the index, then again and again in random order. Medians over batches of
100 lookups, in microseconds, the loop included:

    first   the first lookup of a key in this process: its text is parsed, the index asked
    hit     cache[key]
    get     cache.get(key)
    miss    what a lookup of a key that nobody has made costs before the socket
    ten     ten at a time, so that ten views live
    requests  how many the daemon got during all that, and system calls of the process, if strace is there
"""

import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))
FLAT = ("run", "luminosityBlock", "event", "MET_pt", "MET_phi", "genWeight", "HLT_IsoMu24")
BATCH = 100


def key_names(uuid, n_keys, n_entries):
    """Distinct ranges of flat columns."""
    made = 0
    for width in range(1, n_entries):
        for start in range(n_entries - width):
            for branch in FLAT:
                if made == n_keys:
                    return
                made += 1
                yield f"{uuid}/%2FEvents%3B1/{start}-{start + width}/data/{branch}%2C%21load"


def names_of(path, n_keys):
    import nano
    from bufferd.files import file_uuid

    return list(key_names(file_uuid(path), n_keys, nano.N_ENTRIES))


def open_cache(path):
    import bufferd

    return bufferd.BufferCache(path)


def make(path, n_keys):
    cache = open_cache(path)
    texts = [cache._plugged().plan(name).key for name in names_of(path, n_keys)]
    session = cache._plugged().session
    for at in range(0, n_keys, 1000):
        results, _ = session.materialize(texts[at : at + 1000])
        assert all(hasattr(r, "nbytes") for r in results), results[0]
        results = None
    session.trim()  # acknowledges the last grants


def batches(call, names):
    """Median seconds per call."""
    times = []
    clock = time.perf_counter
    for at in range(0, len(names) - BATCH + 1, BATCH):
        batch = names[at : at + BATCH]
        began = clock()
        for name in batch:
            call(name)
        times.append((clock() - began) / BATCH)
    return statistics.median(times) * 1e6


def ten(cache, names):
    times = []
    clock = time.perf_counter
    for at in range(0, len(names) - BATCH + 1, BATCH):
        batch = names[at : at + BATCH]
        began = clock()
        for k in range(0, BATCH, 10):
            held = [cache[name] for name in batch[k : k + 10]]
        times.append((clock() - began) / BATCH)
    return statistics.median(times) * 1e6, held


def measure(path, n_keys):
    import bufferd

    cache = open_cache(path)
    names = names_of(path, n_keys)
    random.Random(1).shuffle(names)
    cache[names[0]]  # the file, the tree
    before = bufferd.status()
    out = {"keys": n_keys, "first": batches(cache.__getitem__, names[1:])}
    rounds = names * max(1, 300_000 // n_keys)
    random.Random(2).shuffle(rounds)
    out["hit"] = batches(cache.__getitem__, rounds)
    out["get"] = batches(cache.get, rounds)
    out["ten"] = ten(cache, rounds)[0]
    after = bufferd.status()
    out["requests"] = after["requests"] - before["requests"] - 1
    assert after["sessions_opened"] == before["sessions_opened"]
    bufferd.node.node().connection().session.evict("*")
    out["miss"] = batches(cache._peek, rounds)
    print(json.dumps(out))


def only_hits(path, n_keys):
    """For strace: hits between two marks."""
    cache = open_cache(path)
    names = names_of(path, n_keys)
    for name in names:
        cache[name]
    os.path.exists("/mark-begin")
    for _ in range(10):
        for name in names:
            cache[name]
    os.path.exists("/mark-end")


def system_calls(path, n_keys, env):
    """System calls of 10 n_keys hits."""
    if not shutil.which("strace"):
        return None
    with tempfile.NamedTemporaryFile("r") as log:
        command = [sys.executable, __file__, "--only-hits", path, str(n_keys)]
        done = subprocess.run(
            ["strace", "-f", "-o", log.name, *command], env=env, check=False, capture_output=True
        )
        if done.returncode:
            return None
        lines = log.read().splitlines()
    marks = [i for i, line in enumerate(lines) if re.search(r'"/mark-(begin|end)"', line)]
    return marks[1] - marks[0] - 1


def start_daemon(program, directory):
    socket = os.path.join(directory, "socket")
    process = subprocess.Popen(
        [program, "--socket", socket, "--memory", "1G", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not os.path.exists(socket):
        time.sleep(0.01)
    return process, socket


def run(program, n_keys):
    import nano

    with tempfile.TemporaryDirectory(prefix="bufferd-bench-") as directory:
        path = nano.make(os.path.join(directory, "nano.root"))
        daemon, socket = start_daemon(program, directory)
        env = dict(os.environ, BUFFERD_SOCKET=socket)
        try:
            me = [sys.executable, __file__]
            subprocess.run([*me, "--make", path, str(n_keys)], env=env, check=True)
            calls = system_calls(path, min(n_keys, 1000), env)
            done = subprocess.run(
                [*me, "--measure", path, str(n_keys)], env=env, check=True, capture_output=True
            )
            print(json.dumps(dict(json.loads(done.stdout), system_calls=calls)), flush=True)
        finally:
            daemon.terminate()
            daemon.wait()


WHAT = {"--make": make, "--measure": measure, "--only-hits": only_hits}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in WHAT:
        WHAT[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    elif len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
    else:
        for count in map(int, sys.argv[2:] or (1000, 100_000)):
            run(sys.argv[1], count)
