"""How long deliveries take: at a steady rate, after a failure of the destination, and beside dead destinations."""

import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import drill as drills
from receiver import CREATE, Receiver, open_servers

RECOVERY_LIMIT = 1.0
"""Seconds from a destination's recovery until it has what ended a person's access meanwhile."""


def measure_speed(drill, database):
    """The time from the commit of a change until its message is received, at a steady rate."""
    drill.step(f"speed on {database}")
    servers = open_servers(drill, database, 2)
    for server in servers:
        server.start()
    credentials, receiver = servers[0].bootstrap(), Receiver().start()
    clients = [
        drills.Client(server, credentials) for server in servers for _ in range(16 // len(servers))
    ]
    clients[0].ask(CREATE, url=receiver.url, kinds=["USER_CREATED"])
    rate, seconds = 500, drill.choose(60, 10)
    acknowledged, began = [], time.monotonic()

    def write(worker):
        step = len(clients) / rate
        for number in range(int(seconds / step)):
            wait = began + number * step + worker * step / len(clients) - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            answer = clients[worker].scim("POST", "/Users", {
                "schemas": [drills.USER], "userName": f"speed-{worker}-{number}",
            })
            if answer.status == 201:
                acknowledged.append(answer.json()["meta"]["created"])

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(write, range(len(clients))))
    took = time.monotonic() - began
    drills.await_until(lambda: len(receiver.messages) >= len(acknowledged), 60)
    delays = sorted(receiver.delays)
    p50, p99 = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    drill.report.figure(
        f"{database}: {len(acknowledged) / took:.0f} events/s for {took:.0f} s; from the change to "
        f"its receipt: median {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"
    )
    drill.report.check(
        len(receiver.messages) == len(acknowledged),
        f"{database}: {len(receiver.messages)} of {len(acknowledged)} are not there",
    )
    drill.report.check(p99 <= 1.0, f"{database}: p99 {p99:.2f} s, more than a second")
    for server in servers:
        server.stop("at the end")
    receiver.kill()


def measure_many(drill, database):
    """The time until receipt with 1,000 destinations, first all alive, then a tenth of them dead."""
    organizations, each = drill.choose(100, 10), 10
    drill.step(f"{organizations * each} destinations of {organizations} organizations on {database}")
    server = open_servers(drill, database, 1)[0].start()
    receiver = Receiver(mixed=True).start()
    # Accepts connections, and never says a word.
    dead = drill.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
    mute = f"http://127.0.0.1:{dead.getsockname()[1]}/"
    clients, victims = [], []
    for number in range(organizations):
        client = drills.Client(server, server.bootstrap(f"org-{number}"))
        clients.append(client)
        for place in range(each):
            made = client.ask(CREATE, url=receiver.url, kinds=["USER_CREATED"])
            if place == 0:
                victims.append((client, made["destinationCreate"]["destination"]["id"]))
    found = {}
    for what in ("all alive", "a tenth dead"):
        receiver.delays.clear()
        rate, seconds = 20, drill.choose(60, 20)
        began, wanted = time.monotonic(), len(receiver.messages)
        live = each if what == "all alive" else each - 1
        for number in range(rate * seconds):
            wait = began + number / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            client = clients[number % len(clients)]
            client.scim("POST", "/Users", {
                "schemas": [drills.USER], "userName": f"{live}-{number}",
            })
            wanted += live
        drills.await_until(lambda: len(receiver.messages) >= wanted, 60)
        delays = sorted(receiver.delays)
        found[what] = p50, p99 = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
        drill.report.figure(
            f"{database}, {what}: {len(delays)} deliveries; median {p50 * 1000:.0f} ms, "
            f"p99 {p99 * 1000:.0f} ms"
        )
        drill.report.check(
            len(receiver.messages) >= wanted,
            f"{database}: {wanted - len(receiver.messages)} deliveries are not there",
        )
        if what == "all alive":
            for client, destination in victims:
                client.ask(
                    """mutation($id: ID!, $url: String!) {
                       destinationUpdate(input: { id: $id, url: $url }) { userErrors { message } } }""",
                    id=destination,
                    url=mute,
                )
    for place, name in ((0, "median"), (1, "p99")):
        alive, mixed = found["all alive"][place], found["a tenth dead"][place]
        drill.report.check(
            mixed < 2 * alive, f"{database}: {name} {alive:.2f} s became {mixed:.2f} s"
        )
    server.stop("at the end")
    receiver.kill()


def measure_recovery(drill, database):
    """The time from a destination's recovery until a suspension arrives that happened while it failed."""
    drill.step(f"recovery on {database}")
    servers = open_servers(drill, database, 2)
    for server in servers:
        server.start()
    credentials, receiver = servers[0].bootstrap(), Receiver().start()
    client = drills.Client(servers[0], credentials)
    made = client.ask(CREATE, url=receiver.url, kinds=None)
    assert not made["destinationCreate"]["userErrors"], made
    times = {"answers 503": [], "refuses connections": []}
    rounds = drill.choose(20, 3)
    for number in range(rounds):
        for what, found in times.items():
            leaver, other = (
                client.scim("POST", "/Users", {
                    "schemas": [drills.USER], "userName": f"{kind}-{number}-{len(found)}-{what}",
                }).json()["id"]
                for kind in ("leaver", "other")
            )
            told = lambda kind, who: receiver.seen.get((kind, who))
            arrived = drills.await_until(lambda: told("user.created", other), 60)
            drill.report.check(arrived, f"{database}: a creation is not there after a minute")
            if what == "answers 503":
                receiver.status = 503
            else:
                receiver.kill()
            # It fails before the suspension comes, and what fails waits for its next attempt.
            title = {"op": "replace", "path": "title", "value": str(number)}
            client.patch(f"/Users/{other}", title)
            time.sleep(random.uniform(0.5, 2))
            suspended = time.monotonic()
            client.patch(f"/Users/{leaver}", {"op": "replace", "path": "active", "value": False})
            time.sleep(drill.choose(random.uniform(2, 30), random.uniform(2, 6)))
            if what == "answers 503":
                receiver.status = 204
            else:
                receiver.start()
            recovered = time.monotonic()
            arrived = drills.await_until(lambda: told("user.suspended", leaver), 120, 0.005)
            if drill.report.check(
                arrived, f"{database}: a suspension is not there two minutes after the recovery"
            ):
                found.append(arrived - recovered)
                failed = recovered - suspended
                drill.step(f"it {what} for {failed:.1f} s: there after {found[-1] * 1000:.0f} ms")
    for what, found in times.items():
        if not found:
            continue
        found.sort()
        drill.report.figure(
            f"{database}, a destination that {what}: a suspension arrives after its recovery within "
            f"{found[len(found) // 2] * 1000:.0f} ms (median), {found[-1] * 1000:.0f} ms "
            f"(longest of {len(found)})"
        )
        drill.report.check(
            found[-1] <= RECOVERY_LIMIT,
            f"{database}, {what}: {found[-1]:.2f} s after the recovery, more than a second",
        )
    for server in servers:
        server.stop("at the end")
    receiver.kill()
