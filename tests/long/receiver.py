"""A receiver of webhooks, and servers that deliver to it, for the drills and measurements of deliveries."""

import datetime
import http.server
import json
import socketserver
import threading
import time

import drill as drills
import postgres

PRIVATE = {"ROLECALL_SIGNAL_PRIVATE_ADDRESSES": "true"}
CREATE = """mutation($url: String!, $kinds: [EventAction!]) { destinationCreate(input: {
  kind: WEBHOOK, url: $url, description: "drill", eventActions: $kinds }) {
  destination { id } userErrors { message } } }"""


class Receiver:
    """A server that keeps what it is sent, and that can be killed: what it has not answered is not counted."""

    def __init__(self, mixed=False):
        self.port, self.server, self.mixed = drills.free_port(), None, mixed
        self.messages, self.duplicates, self.wrong, self.lock = {}, 0, [], threading.Lock()
        self.delays = []
        # What it answers; and when it got the first message of each kind about each subject.
        self.status, self.seen = 204, {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def start(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.server is not receiver.server:
                    self.close_connection = True
                    return
                status = receiver.status
                if status == 204:
                    receiver.keep(self.headers["webhook-id"], body)
                self.send_response(status)
                if status != 204:
                    self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 256

            def handle_error(self, *_):
                """The other side was killed."""

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def kill(self):
        """No connection is accepted any more, and those that are open end with the next request."""
        server, self.server = self.server, None
        server.shutdown()
        server.server_close()

    def keep(self, message_id, body):
        told = json.loads(body)
        with self.lock:
            self.seen.setdefault((told["type"], told["data"]["subject"]["id"]), time.monotonic())
            place = (told["organization"], message_id) if self.mixed else told["seq"]
            known = self.messages.get(place)
            if known is None:
                self.messages[place] = (message_id, body)
                changed = datetime.datetime.fromisoformat(told["timestamp"]).timestamp()
                self.delays.append(time.time() - changed)
            elif known == (message_id, body):
                self.duplicates += 1
            else:
                self.wrong.append((told["seq"], known[0], message_id))


def open_servers(drill, database, count):
    # Each measurement of a run has a database of its own.
    number = sum(1 for _ in drill.folder.iterdir())
    folder = drill.folder / f"{database}-{number}"
    cluster = None
    if database == "sqlite":
        url, count = f"sqlite://{folder}/rolecall.db", 1
    else:
        cluster = postgres.Cluster(drill, f"postgres-{number}").create()
        url = cluster.url()
    servers = [
        drills.Server(drill, url, folder, dict(PRIVATE), f"{database}-{number}-{place}")
        for place in range(count)
    ]
    for server in servers:
        server.cluster = cluster
    return servers
