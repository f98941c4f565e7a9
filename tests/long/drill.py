"""What every fault drill needs: a server as it ships, clients with a time limit, the record of what was acknowledged,
and the questions that are asked of it afterwards.

A drill is a command of its own beside this file. It exits with 0 only if nothing was lost, done twice or told wrongly.
Only Python's standard library is used.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MASTER_KEY = "dGhlIG1hc3RlciBrZXkgb2YgYWxsIG91ciB0ZXN0cyE="
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

REQUEST_LIMIT = 30.0
"""Seconds that any request may take, whatever is broken."""
STOP_LIMIT = 30.0
"""Seconds from SIGTERM until the process has ended, whatever is broken."""
RECOVERY_LIMIT = 2.0
"""Seconds from the end of a fault until writes are acknowledged again."""
SHORT_SLACK = 2.0
"""Seconds added to the recovery in short runs, which share their machine with other work."""
UNCERTAIN = "may or may not have been made"
"""What an answer says of a write whose outcome is not known; any other refusal means that it was not made."""
ACTIONS = ("user.created", "user.updated", "group.created")
"""What the clients' writes are called in the ledger."""
OUTAGE_LIMIT = 18.0
"""Seconds that a request may take while the database does not answer."""


class Report:
    """The figures of a drill, and what was wrong."""

    def __init__(self, title):
        self.title, self.figures, self.problems = title, [], []
        self.started = time.monotonic()

    def figure(self, text):
        self.figures.append(text)
        print(f"  {text}", flush=True)

    def check(self, holds, problem):
        if not holds:
            self.problems.append(problem)
            print(f"  WRONG: {problem}", flush=True)
        return holds

    def close(self):
        verdict = f"{len(self.problems)} WRONG" if self.problems else "ok"
        print(f"{self.title}: {verdict}, {time.monotonic() - self.started:.0f} s", flush=True)
        return 1 if self.problems else 0


class Drill:
    """One run of a drill: its settings, its folder, and whatever must be put away at its end."""

    def __init__(self, arguments, report, folder, stack):
        self.arguments, self.report, self.folder, self.stack = arguments, report, folder, stack
        self.short = arguments.short
        self.binary = build_server()
        self.recovery_limit = RECOVERY_LIMIT + (SHORT_SLACK if self.short else 0)

    def choose(self, long, short):
        """The value for a long or a short run."""
        return short if self.short else long

    def step(self, text):
        print(f"{self.report.title}: {text}", flush=True)


def run(title, work, options=None):
    """Runs `work(drill)` with the command line's settings; never returns."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument(
        "--short", action="store_true", help="about a minute of it, as tests/run does"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the folder with the servers' logs"
    )
    if options:
        options(parser)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report(title)
    with contextlib.ExitStack() as stack:
        folder = make_folder()
        if arguments.keep:
            print(f"{title}: {folder}")
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        work(Drill(arguments, report, folder, stack))
    sys.exit(report.close())


def make_folder():
    """A temporary folder that PostgreSQL's owner may go through."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if all(folder.stat().st_mode & 0o001 for folder in (Path(parent), *Path(parent).parents)):
            folder = Path(tempfile.mkdtemp(prefix="rolecall-drill.", dir=parent))
            folder.chmod(0o711)
            return folder
    raise SystemExit("no temporary folder that PostgreSQL's owner can use")


def build_server():
    """The server's binary: built here, unless ROLECALL_TEST_BINARY names one."""
    given = os.environ.get("ROLECALL_TEST_BINARY")
    if given:
        return given
    locked = ["--locked"] if os.environ.get("CI") == "true" else []
    subprocess.run(["cargo", "build", "--quiet", *locked], cwd=ROOT, check=True)
    return str(ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "rolecall")


def install(purpose, *packages):
    """Installs Debian packages, or fails with a sentence."""
    subprocess.run([ROOT / "tests" / "install", purpose, *packages], check=True)


def cpu_of(process, tree=False):
    """Seconds of CPU that a process has used; of a tree, its children and those that ended, too."""
    ticks = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        own, parent = int(folder.name) == process, int(fields[1]) == process
        if own or (tree and parent):
            ticks += int(fields[11]) + int(fields[12])
        if own and tree:
            ticks += int(fields[13]) + int(fields[14])
    return ticks / os.sysconf("SC_CLK_TCK")


def free_port():
    """A port that nothing listens on; below 32768 no outgoing connection sits on it."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def await_until(holds, seconds, pause=0.05):
    """Whether `holds()` became true within so many seconds."""
    until = time.monotonic() + seconds
    while True:
        found = holds()
        if found or time.monotonic() > until:
            return found
        time.sleep(pause)


class Server:
    """`rolecall serve` on a database; killed at the drill's end."""

    def __init__(
        self, drill, database_url, data_folder, environment=None, name="server", port=None
    ):
        self.drill, self.name = drill, name
        self.port = port or free_port()
        self.settings = {
            key: value for key, value in os.environ.items() if not key.startswith("ROLECALL_")
        }
        self.settings |= {
            "ROLECALL_DATABASE_URL": database_url,
            "ROLECALL_DATA_DIR": str(data_folder),
            "ROLECALL_MASTER_KEY": MASTER_KEY,
            "ROLECALL_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "ROLECALL_LISTEN": f"127.0.0.1:{self.port}",
            "ROLECALL_LOG": "warn",
        }
        self.environment = environment or {}
        self.log = drill.folder / f"{name}.log"
        self.process = None
        drill.stack.callback(self.kill)

    def begin(self):
        """Starts the process without waiting for it."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.drill.binary, "serve"],
                env=self.settings | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def start(self, seconds=60):
        self.begin()
        if (
            not await_until(lambda: self.process.poll() is not None or self.is_ready(), seconds)
            or not self.runs()
        ):
            raise SystemExit(f"{self.name} did not start:\n{self.log.read_text()[-2000:]}")
        return self

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def is_ready(self):
        return self.readiness()[0] == 200

    def readiness(self, seconds=5):
        """The status of /readyz, none if it does not answer; and what it says."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
            with contextlib.closing(connection):
                connection.request("GET", "/readyz")
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
        except OSError as error:
            return None, str(error)

    def stop(self, state):
        """Asks it to end (SIGTERM), in the state that is named, and judges how long that takes."""
        asked = time.monotonic()
        self.process.terminate()
        try:
            status = self.process.wait(STOP_LIMIT + 5)
        except subprocess.TimeoutExpired:
            self.drill.report.check(
                False, f"{self.name} {state}: still there {STOP_LIMIT + 5:.0f} s after SIGTERM"
            )
            self.kill()
            return
        took = time.monotonic() - asked
        self.drill.report.figure(
            f"{self.name} {state}: ended {took:.1f} s after SIGTERM with status {status}"
        )
        self.drill.report.check(
            took <= STOP_LIMIT, f"{self.name} {state}: took {took:.1f} s to end"
        )
        self.drill.report.check(
            status is not None and status >= 0, f"{self.name} {state}: ended by signal {status}"
        )

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def command(self, *arguments, seconds=120):
        """Runs another command of the program on the same database."""
        return subprocess.run(
            [self.drill.binary, *arguments],
            env=self.settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def bootstrap(self, slug="acme"):
        made = self.command("bootstrap", "--organization", slug, "--json")
        if made.returncode != 0:
            raise SystemExit(f"bootstrap: {made.stderr}")
        return Credentials(json.loads(made.stdout))


class Credentials:
    def __init__(self, made):
        self.slug, self.token = made["organization"]["slug"], made["scim"]["token"]
        self.api_key = made["graphql"]["api_key"]


class Answer:
    """What a request was answered, if it was: without an answer, `status` is none and `body` says why."""

    def __init__(self, request_id, begun, status, headers, text):
        self.request_id, self.begun, self.ended = request_id, begun, time.monotonic()
        self.status, self.headers, self.text = status, headers, text

    @property
    def seconds(self):
        return self.ended - self.begun

    def json(self):
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def __repr__(self):
        return f"{self.status} after {self.seconds:.2f} s: {str(self.text)[:300]}"


class Client:
    """A client that keeps its connection, as identity providers do."""

    def __init__(self, server, credentials, limit=REQUEST_LIMIT + 2):
        self.server, self.credentials, self.limit, self.connection = (
            server,
            credentials,
            limit,
            None,
        )

    def send(self, method, path, token, body=None, content_type="application/json", more=None):
        begun, request_id = time.monotonic(), str(uuid.uuid4())
        # The ledger names it: so the outcome is known of requests that were not answered, too.
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": content_type,
            "X-Request-Id": request_id,
        } | (more or {})
        payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        for attempt in (0, 1):
            fresh = self.connection is None
            try:
                if fresh:
                    self.connection = http.client.HTTPConnection(
                        "127.0.0.1", self.server.port, timeout=self.limit
                    )
                self.connection.request(method, path, payload, headers)
                answer = self.connection.getresponse()
                text = answer.read().decode()
                found = {name.lower(): value for name, value in answer.getheaders()}
                if answer.status == 503:
                    # One that is refused before its body was read has its connection closed, too.
                    self.close()
                return Answer(request_id, begun, answer.status, found, text)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A kept connection that the server had closed tells nothing of a request that was never
                # received whole.
                unsent = isinstance(error, BrokenPipeError)
                gone = isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError))
                if attempt or fresh or not (unsent or gone and method == "GET"):
                    return Answer(request_id, begun, None, {}, repr(error))

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def scim(self, method, path, body=None):
        path = f"/scim/v2/{self.credentials.slug}{path}"
        return self.send(method, path, self.credentials.token, body, "application/scim+json")

    def graphql(self, query, **variables):
        return self.send(
            "POST", "/graphql", self.credentials.api_key, {"query": query, "variables": variables}
        )

    def ask(self, query, **variables):
        """The data of a GraphQL answer that must be one."""
        answer = self.graphql(query, **variables)
        body = answer.json()
        if answer.status != 200 or not body or body.get("errors"):
            raise AssertionError(f"{query[:200]}: {answer}")
        return body["data"]

    def patch(self, path, *operations):
        return self.scim("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})


class Record:
    """What was acknowledged to clients, and what was not: shared by all loads of a drill."""

    def __init__(self):
        self.lock = threading.Lock()
        self.users, self.requests, self.unknown = {}, [], []

    def acknowledge(self, answer, subject, action):
        with self.lock:
            self.requests.append((answer.request_id, subject, action))


class Load:
    """Clients that write, each for itself, and never twice: a failed request is not repeated."""

    def __init__(
        self,
        server,
        credentials,
        clients=6,
        pause=0.0,
        record=None,
        name="load",
        limit=REQUEST_LIMIT + 2,
    ):
        self.server, self.credentials, self.pause, self.name, self.limit = (
            server,
            credentials,
            pause,
            name,
            limit,
        )
        self.record = record or Record()
        self.answers, self.lock = [], threading.Lock()
        self.stopping = threading.Event()
        self.threads = [
            threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(clients)
        ]
        self.threads.append(threading.Thread(target=self._manage, daemon=True))
        self.readiness = []
        self.threads.append(threading.Thread(target=self._watch, daemon=True))

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        return self

    def _note(self, kind, answer):
        with self.lock:
            self.answers.append((kind, answer))

    def _write(self, number):
        client, last, count = Client(self.server, self.credentials, self.limit), None, 0
        while not self.stopping.is_set():
            count += 1
            if last is None or count % 3 == 1:
                last = self.create(client, f"{self.name}-{number}-{count}") or last
            else:
                self.change(client, last, f"title {count}")
            time.sleep(self.pause)
        client.close()

    def create(self, client, name):
        answer = client.scim(
            "POST",
            "/Users",
            {"schemas": [USER], "userName": name, "externalId": name, "title": "new"},
        )
        self._note("create", answer)
        if answer.status == 201:
            made = answer.json()
            with self.record.lock:
                self.record.users[made["id"]] = {"name": name, "titles": {"new"}}
            self.record.acknowledge(answer, made["id"], "user.created")
            return made["id"]
        with self.record.lock:
            self.record.unknown.append((answer, name))
        time.sleep(0.02)
        return None

    def change(self, client, user, title):
        with self.record.lock:
            self.record.users[user]["titles"].add(title)
        answer = client.patch(f"/Users/{user}", {"op": "replace", "path": "title", "value": title})
        self._note("change", answer)
        with self.record.lock:
            if answer.status == 200:
                self.record.users[user]["titles"] = {title}
            else:
                self.record.unknown.append((answer, None))
        if answer.status == 200:
            self.record.acknowledge(answer, user, "user.updated")
        else:
            time.sleep(0.02)

    def _manage(self):
        """One administrator's client: reads and writes over GraphQL."""
        client, count = Client(self.server, self.credentials, self.limit), 0
        make = """mutation($n: String!) { groupCreate(input: { displayName: $n }) {
            group { id } userErrors { code } } }"""
        while not self.stopping.is_set():
            count += 1
            if count % 2:
                answer = client.graphql("{ organization { users(first: 5) { nodes { id } } } }")
                self._note("query", answer)
            else:
                answer = client.graphql(make, n=f"{self.name} group {count}")
                self._note("mutation", answer)
                if succeeded("mutation", answer):
                    self.record.acknowledge(answer, None, "group.created")
            time.sleep(max(self.pause, 0.05))
        client.close()

    def _watch(self):
        while not self.stopping.is_set():
            begun = time.monotonic()
            status, _ = self.server.readiness(REQUEST_LIMIT)
            self.readiness.append((begun, time.monotonic(), status))
            time.sleep(0.1)

    def answers_between(self, since, until=None):
        """What was asked in a span of time."""
        with self.lock:
            answers = list(self.answers)
        return [
            (kind, answer)
            for kind, answer in answers
            if answer.begun >= since and (not until or answer.begun < until)
        ]

    def first_write_after(self, instant, seconds):
        """When the first write after an instant was acknowledged; none within so many seconds."""

        def find():
            with self.lock:
                recent = self.answers[-2000:]
            ended = [
                a.ended
                for kind, a in recent
                if kind in ("create", "change") and a.ended > instant and succeeded(kind, a)
            ]
            return min(ended, default=None)

        return await_until(find, seconds, 0.02)


def succeeded(kind, answer):
    if kind in ("query", "mutation"):
        body = answer.json() if answer.status == 200 else None
        return bool(body) and not body.get("errors")
    return answer.status in (200, 201)


def describe_refusal(kind, answer):
    """What is wrong with an answer that a passing fault gave; none if it is as it should be."""
    if answer.status is None:
        return f"no answer ({answer.text.split('(')[0]})"
    if kind in ("query", "mutation") and answer.status == 200 and tells_outage(answer):
        # Other parts of the same answer hold.
        return None
    if answer.status != 503:
        code = ""
        if kind in ("query", "mutation"):
            code = " " + str(
                ((answer.json() or {}).get("errors") or [{}])[0].get("extensions", {}).get("code")
            )
        return f"{answer.status}{code}"
    if "retry-after" not in answer.headers:
        return "503 without Retry-After"
    body = answer.json()
    if not isinstance(body, dict):
        return "503 without a body"
    if kind in ("query", "mutation"):
        return None if body.get("errors") else "503 without errors"
    return (
        None
        if body.get("schemas") == [ERROR] and body.get("status") == "503"
        else "503 in another shape"
    )


def tells_outage(answer):
    """Whether each error of a GraphQL answer says that the database is away, and when to come again."""
    errors = [error.get("extensions", {}) for error in (answer.json() or {}).get("errors", [])]
    return all(
        one.get("code") in ("UNAVAILABLE", "OUTCOME_UNKNOWN") and one.get("retryAfterSeconds")
        for one in errors
    )


def judge_answers(drill, load, what, since, until, limit=OUTAGE_LIMIT, ended_connections=False):
    """Judges what was answered between two instants around a fault: 2xx, or 503 that says when to come again."""
    answers = load.answers_between(since, until)
    wrong = {}
    for kind, answer in answers:
        if succeeded(kind, answer):
            continue
        problem = describe_refusal(kind, answer)
        if problem and not (ended_connections and answer.status is None and answer.seconds < limit):
            wrong.setdefault((kind, problem), []).append(answer)
    slowest = max((answer.seconds for _, answer in answers), default=0.0)
    good = sum(succeeded(kind, answer) for kind, answer in answers)
    refused = sum(answer.status == 503 for _, answer in answers)
    drill.report.figure(
        f"{what}: {len(answers)} requests, {good} done, {refused} answered 503, slowest {slowest:.1f} s"
    )
    for (kind, problem), found in sorted(wrong.items()):
        drill.report.check(
            False, f"{what}: {len(found)} × {kind}: {problem}; for example {found[0]}"
        )
    drill.report.check(
        slowest <= limit, f"{what}: a request took {slowest:.1f} s, more than {limit:.0f} s"
    )
    return answers


def judge_recovery(drill, load, what, healed, patience=40):
    """How long after the end of a fault the first write was acknowledged, and whether all is well from then on."""
    first = load.first_write_after(healed, patience)
    if not drill.report.check(
        first is not None, f"{what}: no write for {patience} s after the fault had gone"
    ):
        return
    took = first - healed
    drill.report.figure(f"{what}: writes again {took:.2f} s after the fault had gone")
    drill.report.check(
        took <= drill.recovery_limit, f"{what}: writes again only after {took:.1f} s"
    )
    ready = await_until(load.server.is_ready, 5)
    drill.report.check(ready, f"{what}: /readyz does not say ready: {load.server.readiness()}")


def judge_calm(drill, load, what, since, until=None):
    """Whether every request of a time without a fault was done."""
    answers = load.answers_between(since, until)
    failed = [(kind, answer) for kind, answer in answers if not succeeded(kind, answer)]
    drill.report.check(answers, f"{what}: nothing was asked")
    drill.report.check(
        not failed,
        f"{what}: {len(failed)} of {len(answers)} requests failed without a fault: {failed[:1]}",
    )


def judge_readiness(drill, load, what, since, until, patience=3.0):
    """Whether /readyz told of a fault: not ready while, for some seconds, no write was done."""
    done = sorted(
        answer.ended
        for kind, answer in load.answers_between(since - REQUEST_LIMIT)
        if kind in ("create", "change")
        and since <= answer.ended <= until
        and succeeded(kind, answer)
    )
    # The times between two writes that were done; clients try all the time.
    spans = list(zip([since, *done], [*done, until]))
    seen = [
        status
        for begun, ended, status in load.readiness
        if any(begun >= start + patience and ended <= end for start, end in spans)
    ]
    lies = sum(status == 200 for status in seen)
    longest = max((end - start for start, end in spans), default=0.0)
    drill.report.figure(
        f"{what}: no write for up to {longest:.1f} s, /readyz said ready {lies} of {len(seen)} times meanwhile"
    )
    drill.report.check(
        not lies,
        f"{what}: /readyz said ready {lies} of {len(seen)} times while nothing could be written",
    )
    slowest = max(
        (ended - begun for begun, ended, _ in load.readiness if since <= begun <= until),
        default=0.0,
    )
    drill.report.check(slowest <= OUTAGE_LIMIT, f"{what}: /readyz took {slowest:.1f} s")


def read_users(client):
    """All live accounts over SCIM, by id."""
    found, cursor = {}, ""
    while cursor is not None:
        answer = client.scim("GET", f"/Users?count=200&cursor={cursor}")
        assert answer.status == 200, answer
        page = answer.json()
        for one in page.get("Resources", []):
            found[one["id"]] = one
        cursor = page.get("nextCursor")
    return found


def read_ledger(client, requests=()):
    """The ledger's rows, as exported; waits some seconds until these requests are in it."""
    found, wanted = [], set(requests)

    def export():
        answer = client.send("GET", "/evidence/changes.jsonl", client.credentials.api_key)
        assert answer.status == 200, answer
        rows = [json.loads(line) for line in answer.text.splitlines()]
        # The last line is the attestation.
        rows = [row for row in rows if "request_id" in row]
        found[:] = rows
        return wanted <= {row["request_id"] for row in rows}

    await_until(export, 20, 0.3)
    return found


def check_record(drill, server, credentials, record, when):
    """0 acknowledged writes lost, 0 done twice, and none done that was refused."""
    report, client = drill.report, Client(server, credentials)
    users = read_users(client)
    with record.lock:
        acknowledged, requests, unknown = (
            dict(record.users),
            list(record.requests),
            list(record.unknown),
        )
    lost = [id for id in acknowledged if id not in users]
    sample = random.sample(sorted(acknowledged), min(100, len(acknowledged)))
    lost += [
        id for id in sample if id not in lost and client.scim("GET", f"/Users/{id}").status != 200
    ]
    stale = [
        id
        for id, one in acknowledged.items()
        if id in users and users[id].get("title") not in one["titles"]
    ]
    rows = read_ledger(client, [request for request, _, _ in requests])
    by_request = {}
    for row in rows:
        by_request.setdefault((row["request_id"], row["action"]), []).append(row)
    unrecorded = [
        (request, action)
        for request, subject, action in requests
        if not any(
            subject in (None, row["subject_id"]) for row in by_request.get((request, action), [])
        )
    ]
    twice = [key for key, found in by_request.items() if key[1] in ACTIONS and len(found) > 1]
    denied = [
        answer
        for answer, _ in unknown
        if answer.status is not None and UNCERTAIN not in answer.text
    ]
    # A failure that was put into the review queue names the request, too.
    done = {request for request, action in by_request if action in ACTIONS}
    false = [answer for answer in denied if answer.request_id in done]
    report.figure(
        f"{when}: {len(requests)} acknowledged writes, {len(lost) + len(stale)} lost, "
        f"{len(requests) - len(unrecorded)} of them in the ledger, {len(twice)} done twice, "
        f"{len(unknown) - len(denied)} said to be uncertain, "
        f"{len(false)} of {len(denied)} refused ones done all the same"
    )
    report.check(
        not lost, f"{when}: {len(lost)} acknowledged accounts are not there, for example {lost[:3]}"
    )
    report.check(
        not stale,
        f"{when}: {len(stale)} acknowledged changes are not there, for example {stale[:3]}",
    )
    report.check(
        not unrecorded,
        f"{when}: {len(unrecorded)} acknowledged writes are not in the ledger: {unrecorded[:3]}",
    )
    report.check(not twice, f"{when}: {len(twice)} writes were done twice: {twice[:3]}")
    report.check(
        not false,
        f"{when}: {len(false)} writes were done although the answer refused them: {false[:1]}",
    )
    client.close()


def check_chain(drill, server, when):
    """The ledger's chain, walked by the program itself."""
    verdict = server.command("audit", "verify")
    drill.report.figure(f"{when}: audit verify: {(verdict.stdout or verdict.stderr).strip()[:200]}")
    drill.report.check(
        verdict.returncode == 0 and "intact" in verdict.stdout,
        f"{when}: audit verify: {verdict.stderr.strip()[:300]}",
    )


def check_everything(drill, server, credentials, record, when):
    """All questions, of the server that went through the fault and of one that was started afterwards."""
    check_record(drill, server, credentials, record, f"{when}, same process")
    server.stop("at rest")
    server.start()
    check_record(drill, server, credentials, record, f"{when}, started again")
    check_chain(drill, server, when)
