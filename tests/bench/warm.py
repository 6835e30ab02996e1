"""A process that finds everything in the cache: seconds of one read, as one line of JSON."""

import json
import sys
import time

import awkward  # noqa: F401: not part of what is measured

import bufferd

path, socket, *columns = sys.argv[1:]
before = bufferd.status(socket=socket)
started = time.perf_counter()
arrays = bufferd.open(path, socket=socket)["Events"].arrays(columns)
seconds = time.perf_counter() - started
after = bufferd.status(socket=socket)
decoded = after["baskets_decoded"] - before["baskets_decoded"]
print(json.dumps({"seconds": seconds, "baskets": decoded, "entries": len(arrays)}))
