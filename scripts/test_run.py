"""Builds and runs the parts of scripts/test, counts what passed, and prints one summary.

Builds come one after the other, as each uses all cores; the parts run two at a time. Counting: a
Criterion program counts its tests, any other program of `meson test` one, pytest its own, a fuzz
target, a check and a build one each.
"""

import argparse
import concurrent.futures
import dataclasses
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(ROOT, "build", "logs")
SYNTHESIS = re.compile(
    r"Synthesis: Tested: \D*(\d+)\D* \| Passing: \D*(\d+)\D* \| Failing: \D*(\d+)"
)
REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


@dataclasses.dataclass
class Result:
    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    problems: list = dataclasses.field(default_factory=list)

    def fail(self, text):
        self.failed += 1
        self.problems.append(text)


def run(log, command, **env):
    """Run a command with its output in a log. Returns (exit code, path of the log)."""
    path = os.path.join(LOGS, log + ".log")
    with open(path, "w", encoding="utf-8") as out:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | SANITIZERS | env,
            check=False,
        )
    return done.returncode, path


def tail(path, n=40):
    with open(path, encoding="utf-8", errors="replace") as f:
        return "".join(f.readlines()[-n:])


def build(name, shell):
    """One build, by functions of common.sh."""
    result, started = Result(f"build {name}"), time.monotonic()
    code, log = run(f"build-part-{name}", ["bash", "-c", f"set -e; . scripts/common.sh; {shell}"])
    if code:
        result.fail(f"the build {name} failed:\n{tail(log)}")
    else:
        result.passed = 1
    result.seconds = time.monotonic() - started
    return result


def count_meson_test(result, test):
    """Add one line of meson's testlog.json."""
    text = ANSI.sub("", test.get("stdout", "") + test.get("stderr", ""))
    counts = SYNTHESIS.findall(text)
    failed_before = result.failed
    for tested, passing, failing in counts:
        result.passed += int(passing)
        result.failed += int(failing)  # the crashed ones among them
        result.skipped += int(tested) - int(passing) - int(failing)
    if test["result"] == "SKIP":
        result.skipped += not counts
    elif test["result"] in ("OK", "EXPECTEDFAIL"):
        result.passed += not counts
    elif result.failed == failed_before:
        result.failed += 1
    if result.failed == failed_before and REPORT.search(text):
        result.failed += 1  # Criterion does not look at what a sanitizer says at the end of a test
    if result.failed > failed_before:
        lines = "\n".join(text.splitlines()[-30:])
        result.problems.append(f"{test['name']}: {test['result']}\n{lines}")


def meson_tests(name, directory, *options):
    result, started = Result(name), time.monotonic()
    log = os.path.join(ROOT, directory, "meson-logs", f"{name}.json")
    if os.path.exists(log):
        os.unlink(log)
    code, out = run(
        f"test-{name}",
        ["meson", "test", "-C", directory, "--no-rebuild", "--logbase", name, *options],
    )
    if os.path.exists(log):
        with open(log, encoding="utf-8") as f:
            for line in f:
                count_meson_test(result, json.loads(line))
    if code and not result.failed:
        result.fail(tail(out))
    if not code and not result.passed + result.skipped:
        result.fail(f"no test was run: {' '.join(options)}")
    result.seconds = time.monotonic() - started
    return result


def count_pytest(result, report):
    for case in xml.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            result.failed += 1
        elif "skipped" in kinds:
            result.skipped += 1
        else:
            result.passed += 1


def python_tests(name):
    """pytest over one folder; the daemons are the ASan build, their reports go to files."""
    result, started = Result(name), time.monotonic()
    folder = f"tests/{name}"
    reports = os.path.join(ROOT, "build-asan", f"reports-{name}")
    shutil.rmtree(reports, ignore_errors=True)
    os.makedirs(reports)
    junit = os.path.join(LOGS, f"{name}.xml")
    if os.path.exists(junit):
        os.unlink(junit)
    code, log = run(
        f"test-{name}",
        [sys.executable, "-m", "pytest", "-q", "-ra", "--disable-warnings", "--junitxml", junit, folder],
        ASAN_OPTIONS=f"{SANITIZERS['ASAN_OPTIONS']}:log_path={reports}/asan",
        UBSAN_OPTIONS=f"{SANITIZERS['UBSAN_OPTIONS']}:log_path={reports}/ubsan",
        BUFFERD_DAEMON=os.path.join(ROOT, "build-asan", "daemon", "bufferd"),
    )
    if os.path.exists(junit):
        count_pytest(result, junit)
    if result.failed:
        result.problems.append(tail(log, 60))
    elif code:
        result.fail(tail(log))
    found = sorted(glob.glob(f"{reports}/*"))
    for path in found:
        result.problems.append(f"{os.path.relpath(path, ROOT)}:\n{tail(path, 30)}")
    result.failed += len(found)
    result.passed += not found
    result.seconds = time.monotonic() - started
    return result


def fuzz():
    result, started = Result("fuzz"), time.monotonic()
    seconds = os.environ.get("BUFFERD_FUZZ_SECONDS", "20")
    code, log = run("test-fuzz", ["scripts/fuzz", "--seconds", seconds])
    with open(log, encoding="utf-8", errors="replace") as f:
        lines = f.read().splitlines()
    result.passed = sum(line.startswith("ok    ") for line in lines)
    result.failed = sum(line.startswith("FAIL  ") for line in lines)
    if result.failed:
        result.problems.append(tail(log, 60))
    elif code:
        result.fail(tail(log))
    result.seconds = time.monotonic() - started
    return result


def checks():
    result, started = Result("checks"), time.monotonic()
    for script in ("check-includes", "check-format"):
        code, log = run(script, [f"scripts/{script}"])
        if code:
            result.fail(tail(log))
        else:
            result.passed += 1
    result.seconds = time.monotonic() - started
    return result


# part: (the builds it needs, how to run it), the longest first
PARTS = {
    "python": (["gcc", "asan"], lambda: python_tests("python")),
    "integration": (["gcc", "asan"], lambda: python_tests("integration")),
    "fuzz": (["fuzz"], fuzz),
    "asan": (["asan"], lambda: meson_tests("asan", "build-asan", "--num-processes", "1")),
    "unit": (["gcc"], lambda: meson_tests("unit", "build", "--num-processes", "1")),
    "tsan": (
        ["tsan"],
        lambda: meson_tests("tsan", "build-tsan", "--suite", "stress", "--num-processes", "1"),
    ),
    "checks": ([], checks),
}
BUILDS = {
    "gcc": "meson_configure $build -Dtests=enabled; build_and_install",
    "asan": "meson_configure $root/build-asan -Dtests=enabled -Dpython=false -Db_sanitize=address,undefined;"
    " meson_build $root/build-asan",
    "tsan": "meson_configure $root/build-tsan -Dtests=enabled -Dpython=false -Db_sanitize=thread;"
    " meson_build $root/build-tsan",
    "fuzz": "$root/scripts/fuzz --list",
}


def run_parts(names):
    """Build what the parts need, then run them two at a time."""
    needed = {b for name in names for b in PARTS[name][0]}
    results = []
    for name, shell in BUILDS.items():
        if name in needed:
            print(f"building: {name}", flush=True)
            results.append(build(name, shell))
    broken = {b for b in needed if any(r.failed for r in results if r.name == f"build {b}")}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(PARTS[n][1]) for n in names if not broken & set(PARTS[n][0])]
        for job in concurrent.futures.as_completed(jobs):
            results.append(job.result())
            r = results[-1]
            print(f"ran: {r.name}, {r.passed} passed, {r.failed} failed, {r.seconds:.0f} s", flush=True)
    return results


def print_summary(results, seconds):
    for r in results:
        for problem in r.problems:
            print(f"\n==== {r.name}: {problem.rstrip()}")
    print(f"\n{'part':<12} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for r in results:
        print(f"{r.name:<12} {r.passed:>7} {r.failed:>7} {r.skipped:>8} {r.seconds:>8.1f}")
    passed, failed, skipped = (sum(getattr(r, f) for r in results) for f in ("passed", "failed", "skipped"))
    print(f"all of it in {seconds:.0f} s; logs are in build/logs")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return failed


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    args = p.parse_args()
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        sys.exit(f"no such part: {' '.join(sorted(unknown))}; there are: {' '.join(PARTS)}")
    os.makedirs(LOGS, exist_ok=True)
    started = time.monotonic()
    results = run_parts([n for n in PARTS if not args.parts or n in args.parts])
    return 1 if print_summary(results, time.monotonic() - started) else 0


if __name__ == "__main__":
    sys.exit(main())
