"""A relay that writes down what a client library says to Pointsman, and what it hears.

Test programs of any language connect to its port instead of Pointsman's own. Nothing is changed on the
way; the streams are read afterwards, when the program has ended.
"""

import contextlib
import socket
import threading

# What a request may hold that is different on every run.
VERSION_OF = {"LIB-VER"}


class Incomplete(Exception):
    """The stream ends inside a value."""


class Recorder:
    """Relays every connection to `port` and keeps both directions of it."""

    def __init__(self, port):
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._connections = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                client.close()
                continue
            recorded = Connection()
            with self._lock:
                if self._closed:
                    client.close()
                    server.close()
                    return
                self._connections.append((recorded, client, server))
            for source, target, kept in ((client, server, recorded.sent), (server, client, recorded.received)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_relay, args=(source, target, kept), daemon=True).start()

    def connections(self):
        """All connections so far, in the order in which they came."""
        with self._lock:
            return [recorded for recorded, _, _ in self._connections]

    def close(self):
        self._listener.close()
        with self._lock:
            self._closed = True
            for _, *sockets in self._connections:
                for one in sockets:
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
                    one.close()

    def start_up(self, marker):
        """What was said on the connection that asked for `marker`, before that, as lines of text.

        Requests begin with `> `, the first line of each reply with `< `.
        """
        for connection in self.connections():
            requests = connection.requests()
            for place, request in enumerate(requests):
                if marker in request:
                    return _lines(requests[:place], connection.replies())
        raise AssertionError(f"no connection asked for {marker}")

    def commands(self):
        """The names of all commands that were sent, sorted."""
        return sorted({_name(request) for connection in self.connections() for request in connection.requests()})

    def errors(self):
        """(request, error) of every request that was answered with an error.

        A connection on which a subscription began counts up to there: what it hears then answers nothing.
        """
        found = []
        for connection in self.connections():
            for request, reply in zip(connection.requests(), connection.replies()):
                if request and request[0].upper() in (b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR"):
                    break
                found += [(_text(request), error) for error in _errors_in(reply)]
        return found


class Connection:
    """Both directions of one connection, as bytes."""

    def __init__(self):
        self.sent = bytearray()
        self.received = bytearray()

    def requests(self):
        """The requests as lists of arguments."""
        return [
            value if isinstance(value, list) else bytes(value[1]).split() for value in _values(bytes(self.sent))
        ]

    def replies(self):
        """The replies without pushes: a list for an aggregate, (type, text) for anything else."""
        return [value for value in _values(bytes(self.received)) if not isinstance(value, Push)]


class Push(list):
    """A RESP3 push."""


class Map(list):
    """A RESP3 map, its keys and values in turn."""


def _relay(source, target, kept):
    try:
        while data := source.recv(65536):
            kept += data
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        # Both: whichever side left, the other is to know.
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _values(data):
    values, at = [], 0
    try:
        while at < len(data):
            value, at = _value(data, at)
            values.append(value)
    except Incomplete:
        pass
    return values


def _value(data, at):
    """The RESP value at `at`, and where it ends. A list of bulk strings is given as one of bytes."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind, text, at = data[at : at + 1], data[at + 1 : end], end + 2
    if kind in (b"$", b"=", b"!"):
        size = int(text)
        if size < 0:
            return (b"_", b""), at
        if at + size + 2 > len(data):
            raise Incomplete
        body = data[at : at + size]
        return (body if kind == b"$" else (kind, body)), at + size + 2
    if kind in (b"*", b"%", b"~", b">", b"|"):
        size = int(text) * (2 if kind in (b"%", b"|") else 1)
        if size < 0:
            return (b"_", b""), at
        elements = {b">": Push, b"%": Map}.get(kind, list)()
        for _ in range(size):
            element, at = _value(data, at)
            elements.append(element)
        if kind == b"|":
            # An attribute belongs to the value behind it.
            return _value(data, at)
        return elements, at
    return (kind, text), at


def _lines(requests, replies):
    lines = []
    for place, request in enumerate(requests):
        lines.append(f"> {_text(request)}")
        lines.append(f"< {_shape(replies[place])}" if place < len(replies) else "< nothing")
    return lines


def _text(request):
    words = []
    for word in request:
        masked = words and words[-1].upper() in VERSION_OF
        words.append("<version>" if masked else bytes(word).decode(errors="backslashreplace"))
    return " ".join(words)


def _name(request):
    containers = {"CLIENT", "CONFIG", "COMMAND", "SCRIPT", "CLUSTER", "OBJECT", "XGROUP", "XINFO", "ACL", "MEMORY"}
    words = [bytes(word).decode(errors="backslashreplace").upper() for word in request[:2]]
    return " ".join(words) if words and words[0] in containers else "".join(words[:1])


def _shape(reply):
    """What kind of answer it is: its words where they are a status or an error."""
    if isinstance(reply, Map):
        return "a map"
    if isinstance(reply, list):
        return "an array"
    if isinstance(reply, bytes):
        return "a string"
    kind, text = reply
    if kind in (b"+", b"-"):
        return (kind + text).decode(errors="backslashreplace")
    return {b":": "an integer", b"_": "null"}.get(kind, f"of type {kind.decode()}")


def _errors_in(reply):
    if isinstance(reply, list):
        return [error for element in reply for error in _errors_in(element)]
    if isinstance(reply, tuple) and reply[0] in (b"-", b"!"):
        return [reply[1].decode(errors="backslashreplace")]
    return []
