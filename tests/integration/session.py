"""A client with its tables mapped, as libbufferd has them, but in orders that only a test may use."""

import mmap
import os
import struct

import wire

PAGE = 4096
PINS_PER_PAGE = PAGE // 8
MAP_PINS, MAP_STAGING = 1, 3
ITEM_U1 = 3


class Session(wire.Client):
    """A client with its pin table and staging file mapped."""

    def __init__(self, path, **options):
        super().__init__(path, **options)
        self.pins_fd, self.pins = self.map(MAP_PINS)
        self.n_records = self.session["n_records"]
        n_pages = -(-self.n_records // PINS_PER_PAGE)
        self.counts_off = -(-((n_pages + 7) // 8) // PAGE) * PAGE

    def map(self, what):
        reply = self.call("map", what=what)
        fd = self.fds[-1]
        return fd, mmap.mmap(fd, reply["bytes"])

    def put(self, key, data):
        if not hasattr(self, "staging"):
            _, self.staging = self.map(MAP_STAGING)
        self.staging[: len(data)] = data
        return self.call("put", key=key, item_type=ITEM_U1, total_bytes=len(data), n_bytes=len(data))

    def put_large(self, key, n_bytes, fill=b"x"):
        """An array larger than the staging file, of one byte again and again."""
        if not hasattr(self, "staging"):
            _, self.staging = self.map(MAP_STAGING)
        piece = min(n_bytes, len(self.staging))
        if self.staging[:1] + self.staging[piece - 1 : piece] != fill * 2:
            self.staging[:piece] = fill * piece
        at, args = 0, {"key": key, "item_type": ITEM_U1, "total_bytes": n_bytes}
        while at < n_bytes:
            n = min(piece, n_bytes - at)
            reply = self.call("put", at=at, n_bytes=n, **args)
            at += n
            if reply["is_done"]:
                break
        return reply

    def pin(self, record):
        """As libbufferd does, but in an order that only a test may use."""
        page = record // PINS_PER_PAGE
        self.pins[page // 8] = self.pins[page // 8] | 1 << page % 8
        at = self.counts_off + 8 * record
        (count,) = struct.unpack_from("<I", self.pins, at)
        struct.pack_into("<I", self.pins, at, count + 1)

    def ls(self, pattern=""):
        return {x["key"].decode(): x for x in self.call("ls", pattern=pattern)["items"]}


def ask_for_all(client, slow_file):
    """Send a request for every column; nothing is waited for."""
    path, columns = slow_file
    fd = os.open(path, os.O_RDONLY)
    source = client.call("open", [fd], label=str(path))["source_id"]
    os.close(fd)
    client.call("describe", source_id=source, tree="Events")
    keys = [{"text": f"column/{source:016x}/Events;1/0-120000/{c}/data"} for c in columns]
    return client.send_request("materialize", keys=keys)
