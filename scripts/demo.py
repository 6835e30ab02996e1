"""The demo's story: a daemon, four analysis processes, one table. scripts/demo calls it.

The same analysis runs alone, then in two processes that share a file through bufferd, then on a
copy of the file that the daemon has never seen, with prefetch around the computation and clear at
the end. All four must give the same histograms, and the second must have decoded nothing.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.dirname(sys.executable)

RUNS = [  # title, which file, options
    ("coffea alone", "first", ["--mode", "alone"]),
    ("first process", "first", []),
    ("second process", "first", []),
    ("fresh file, prefetch", "fresh", ["--mode", "prefetch", "--clear"]),
]
HEADER = ("", "seconds", "buffers made", "baskets decoded", "decoded", "shared", "in cache",
          "after clear")


def start_daemon(socket, memory):
    command = [os.path.join(BIN, "bufferd"), "--socket", socket, "--memory", memory]
    print("$ bufferd --memory", memory, flush=True)
    daemon = subprocess.Popen(command, stderr=open(socket + ".log", "w"))
    for _ in range(100):
        if os.path.exists(socket):
            return daemon
        if daemon.poll() is not None:
            break
        time.sleep(0.05)
    daemon.kill()
    with open(socket + ".log", encoding="utf-8") as log:
        sys.exit(f"demo: bufferd did not start:\n{log.read()}")


def stop_daemon(daemon):
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()


def analyse(path, tree, socket, options):
    command = [sys.executable, os.path.join(HERE, "demo_analysis.py"), path, "--tree", tree]
    done = subprocess.run(
        [*command, "--socket", socket, *options], stdout=subprocess.PIPE, check=False, text=True
    )
    if done.returncode:
        sys.exit(f"demo: the analysis failed with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def print_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))]
        print("  ".join(cells))


def megabytes(n):
    return f"{n / 1e6:.1f} MB" if n else "0"


def results_table(results):
    rows = [HEADER]
    for (title, _, _), r in zip(RUNS, results):
        rows.append(
            (
                title,
                f"{r['seconds']:.2f}",
                f"{r['buffers_made']}",
                f"{r['baskets_decoded']}",
                megabytes(r["bytes_unpacked"]),
                megabytes(r["bytes_shared"]),
                megabytes(r["cached"]),
                megabytes(r["cached_after_clear"]) if "cached_after_clear" in r else "-",
            )
        )
    return rows


def plot(results, path):
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
    for axis, name, scale in zip(axes, ("mass", "jet_pt"), ("linear", "log")):
        h = results[-1]["histograms"][name]
        axis.stairs(h["values"], h["edges"], fill=True, alpha=0.35)
        axis.stairs(h["values"], h["edges"], color="C0")
        axis.set(xlabel=h["label"], ylabel="events", yscale=scale)
    figure.suptitle("read once, shared by every process")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def bufctl(socket, *words, n_lines=None):
    print("\n$ bufctl", *words, flush=True)
    done = subprocess.run(
        [os.path.join(BIN, "bufctl"), *words, "--socket", socket],
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    lines = done.stdout.splitlines()
    if n_lines and len(lines) > n_lines + 2:
        lines[n_lines:-1] = [f"... {len(lines) - n_lines - 1} more"]
    print("\n".join(lines))
    if done.returncode:
        sys.exit(f"demo: bufctl {words[0]} failed with {done.returncode}")


def check(results):
    """What has to hold; a list of what does not."""
    wrong = []
    for (title, _, _), r in zip(RUNS, results):
        if r["histograms"] != results[0]["histograms"]:
            wrong.append(f"{title}: other histograms than coffea alone")
    if results[1]["baskets_decoded"] == 0:
        wrong.append("first process: nothing was decoded by the daemon")
    if results[2]["baskets_decoded"] or results[2]["buffers_made"]:
        wrong.append("second process: it decoded again what the first one had")
    if results[3]["cached_after_clear"] >= results[3]["cached"]:
        wrong.append("clear freed nothing")
    if not results[2]["bytes_shared"]:
        wrong.append("second process: nothing was shared")
    return wrong


def tell_story(args, socket):
    files = {"first": args.file, "fresh": args.fresh}
    results = []
    for title, which, options in RUNS:
        print(f"analysing in a process of its own: {title}", flush=True)
        results.append(analyse(files[which], args.tree, socket, options))
    print()
    print_table(results_table(results))
    plot(results, args.plot)
    print(f"\nmass plot: {os.path.relpath(args.plot)}")
    bufctl(socket, "ls", n_lines=12)
    bufctl(socket, "evict", "--all")
    wrong = check(results)
    for line in wrong:
        print(f"demo: WRONG: {line}", file=sys.stderr)
    if not wrong:
        print("\nThe second process decoded 0 baskets; all histograms are equal.")
    return 1 if wrong else 0


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("file")
    p.add_argument("fresh", help="a copy of it that the daemon has not seen")
    p.add_argument("plot", help="the PNG to write")
    p.add_argument("--tree", default="Events")
    p.add_argument("--memory", default="2G")
    args = p.parse_args()
    directory = tempfile.mkdtemp(prefix="bufferd-demo-")
    socket = os.path.join(directory, "socket")
    daemon = start_daemon(socket, args.memory)
    try:
        return tell_story(args, socket)
    finally:
        stop_daemon(daemon)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
