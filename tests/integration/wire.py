"""The wire, spoken by hand: frames, MessagePack, descriptors, and a client that may misbehave.

Messages, operations and errors are read from proto/*.def, so that the tests follow the tables.
"""

import array
import os
import pathlib
import re
import socket
import struct
import time

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


def _rows(name, macro):
    text = re.sub(r"/\*.*?\*/", "", (PROTO / name).read_text(), flags=re.S)
    return re.findall(macro + r"\(([^)]*)\)", text)


def _read_messages():
    text = re.sub(r"/\*.*?\*/", "", (PROTO / "messages.def").read_text(), flags=re.S)
    messages = {}
    for macro, arguments in re.findall(r"\b(MESSAGE|U64|STR|LIST)\(([^)]*)\)", text):
        words = [w.strip() for w in arguments.split(",")]
        if macro == "MESSAGE":
            messages[words[0]] = []
        else:
            messages[words[0]].append((macro, words[1], words[2] if len(words) > 2 else None))
    return messages


def _read_limits():
    text = (PROTO / "wire.h").read_text().replace("\\\n", "")
    found = re.findall(r"#define (WIRE_\w+)\s+([0-9(][0-9 *()]*)", text)
    return {name: eval(value) for name, value in found}


MESSAGES = _read_messages()
OPS = {
    f[1].strip().strip('"'): (f[2].strip(), f[3].strip())
    for f in (row.split(",") for row in _rows("ops.def", "OP"))
}
ERRORS = {
    row.split(",")[0].strip(): number
    for number, row in enumerate(_rows("errors.def", "ERROR"), start=1)
}
LIMITS = _read_limits()
MAX_REQUEST = LIMITS["WIRE_MAX_REQUEST_BYTES"]


# ---- MessagePack: what the wire uses, and a little more to misbehave with ----


def pack(value):
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, int):
        if 0 <= value < 128:
            return bytes([value])
        return b"\xcf" + struct.pack(">Q", value) if value >= 0 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, str):
        value = value.encode()
        return b"\xdb" + struct.pack(">I", len(value)) + value
    if isinstance(value, (bytes, bytearray)):
        return b"\xc6" + struct.pack(">I", len(value)) + bytes(value)
    if isinstance(value, dict):
        return b"\xdf" + struct.pack(">I", len(value)) + b"".join(
            pack(k) + pack(v) for k, v in value.items()
        )
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))


def unpack(data):
    value, at = _unpack(data, 0)
    assert at == len(data), "bytes after the message"
    return value


_NUMBERS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_LENGTHS = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I"}


def _unpack(data, at):
    head = data[at]
    at += 1
    if head < 0x80:
        return head, at
    if head == 0xC0:
        return None, at
    if head in _NUMBERS:
        (n,) = struct.unpack_from(_NUMBERS[head], data, at)
        return n, at + struct.calcsize(_NUMBERS[head])
    if 0xA0 <= head < 0xC0:
        n = head & 0x1F
    elif 0x90 <= head < 0xA0:
        n = head & 0x0F
    else:
        (n,) = struct.unpack_from(_LENGTHS[head], data, at)
        at += struct.calcsize(_LENGTHS[head])
    if 0x90 <= head < 0xA0 or head in (0xDC, 0xDD):
        items = []
        for _ in range(n):
            item, at = _unpack(data, at)
            items.append(item)
        return items, at
    return bytes(data[at : at + n]), at + n


def frame(payload):
    return struct.pack("<I", len(payload)) + payload


# ---- messages ----


def to_wire(name, fields):
    """A message's array of fields; fields that are not given are 0, "" or []."""
    empty = {"U64": 0, "STR": b"", "LIST": []}
    unknown = set(fields) - {field for _, field, _ in MESSAGES[name]}
    assert not unknown, f"{name} has no {unknown}"
    return [
        [to_wire(item, x) for x in fields.get(field, [])]
        if kind == "LIST"
        else fields.get(field, empty[kind])
        for kind, field, item in MESSAGES[name]
    ]


def from_wire(name, values):
    assert len(values) == len(MESSAGES[name]), f"{name}: {values}"
    return {
        field: [from_wire(item, x) for x in value] if kind == "LIST" else value
        for (kind, field, item), value in zip(MESSAGES[name], values)
    }


class WireError(Exception):
    def __init__(self, code, text, id):
        super().__init__(f"{code}: {text}")
        self.code, self.text, self.id = code, text, id


class Closed(Exception):
    """The daemon closed the connection."""


class Client:
    """One connection. Nothing is checked on the way out."""

    def __init__(self, path, timeout=5.0, hello=True):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(str(path))
        self.buffer = b""
        self.fds = []
        self.next_id = 1
        self.session = self.call("hello", version=1, client="test", pid=os.getpid()) if hello else None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def send(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([data], control)
        if sent < len(data):
            self.sock.sendall(data[sent:])

    def send_request(self, method, fds=(), **fields):
        id, self.next_id = self.next_id, self.next_id + 1
        self.send(request(id, method, **fields), fds)
        return id

    def receive(self):
        """The next message, progress included."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + self._announced():
            try:
                data, control, _, _ = self.sock.recvmsg(1 << 16, socket.CMSG_SPACE(4))
            except ConnectionResetError:
                data, control = b"", []
            for _, _, fds in control:
                self.fds += array.array("i", fds[: len(fds) - len(fds) % 4])
            if not data:
                raise Closed()
            self.buffer += data
        n = self._announced()
        payload, self.buffer = self.buffer[4 : 4 + n], self.buffer[4 + n :]
        return unpack(payload)

    def _announced(self):
        return struct.unpack_from("<I", self.buffer)[0]

    def receive_reply(self, id, method):
        while True:
            kind, *rest = self.receive()
            if kind == 2:
                continue
            reply_id, error, result = rest
            if error is not None:
                error = from_wire("error", error)
                raise WireError(error["code"], error["text"].decode(), reply_id)
            assert reply_id == id
            return from_wire(OPS[method][1], result)

    def call(self, method, fds=(), **fields):
        return self.receive_reply(self.send_request(method, fds, **fields), method)

    def status(self):
        return {x["name"].decode(): x["text"].decode() or x["value"] for x in self.call("status")["items"]}

    def expect_error(self, code, id=None):
        """The next message is this error (a name of errors.def)."""
        _, reply_id, error, _ = self.receive()
        assert error is not None and error[0] == ERRORS[code], error
        assert id is None or reply_id == id

    def expect_closed(self, within=3.0):
        """Whatever still comes, then the end of the stream."""
        deadline = time.monotonic() + within
        while True:
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                self.receive()
            except Closed:
                return


def request(id, method, **fields):
    return frame(pack([0, id, method, to_wire(OPS[method][0], fields)]))
