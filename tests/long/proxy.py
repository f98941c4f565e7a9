"""A TCP proxy that can lose a connection's packets without a word, or lead elsewhere."""

import socket
import threading

import drill as drills

_BLOCK = 1 << 16


class Proxy:
    """Listens on a port of its own and leads to `target`, a port.

    What a vanished host looks like from inside: sockets stay open, and nothing comes any more. What is sent into them is
    still taken by this machine's own kernel, so that no limit of TCP's helps either.
    """

    def __init__(self, drill, target):
        self.target, self.port = target, drills.free_port()
        self._silent_new, self._pairs, self._lock, self._closed = False, [], threading.Lock(), False
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()
        drill.stack.callback(self.close)

    def _accept(self):
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            pair = {"client": client, "server": None, "silent": self._silent_new}
            with self._lock:
                self._pairs.append(pair)
            if not pair["silent"]:
                threading.Thread(target=self._connect, args=(pair,), daemon=True).start()

    def _connect(self, pair):
        try:
            pair["server"] = socket.create_connection(("127.0.0.1", self.target), timeout=10)
            pair["server"].settimeout(None)
        except OSError:
            _close(pair["client"])
            return
        for one in (pair["client"], pair["server"]):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._carry, args=(pair, "client", "server"), daemon=True).start()
        self._carry(pair, "server", "client")

    def _carry(self, pair, source, target):
        while True:
            try:
                block = pair[source].recv(_BLOCK)
            except OSError:
                block = b""
            if pair["silent"]:
                # Lost on the way: neither words nor an end arrive.
                if not block:
                    return
                continue
            try:
                if not block:
                    pair[target].shutdown(socket.SHUT_WR)
                    return
                pair[target].sendall(block)
            except OSError:
                _close(pair[source])
                return

    def lose_connections(self, new_ones=False):
        """Nothing passes through what is open now, for ever; with `new_ones`, nor through what is opened from now on."""
        with self._lock:
            self._silent_new = new_ones
            for pair in self._pairs:
                pair["silent"] = True

    def heal(self):
        """What is opened from now on leads to the target again."""
        self._silent_new = False

    def switch(self, target):
        """Leads to another port from now on, and ends what is open."""
        self.target = target
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in (pair["client"], pair["server"]):
                if one is not None:
                    _close(one)

    def close(self):
        self._closed = True
        _close(self._listener)
        self.switch(self.target)


def _close(one):
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()
