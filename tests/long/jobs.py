"""Long work that servers carry out in the background, started and judged from outside."""

import json

import drill as drills


def make_group(name):
    """A line of a bulk job; group names may repeat, so that a line that was done twice shows."""
    return {"operation": "groupCreate", "input": {"displayName": name}}


def start_bulk(client, lines):
    body = "\n".join(map(json.dumps, lines)).encode()
    answer = client.send("POST", "/bulk", client.credentials.api_key, body, "application/jsonl")
    if answer.status != 202:
        raise AssertionError(f"bulk: {answer}")
    return answer.json()["bulkJob"]["id"]


def look_at_bulk(client, job):
    query = """query($id: ID!) { organization { bulkJob(id: $id) {
        state doneCount failedCount lineCount endedAt resultUrl } } }"""
    return client.ask(query, id=job)["organization"]["bulkJob"]


def await_bulk(drill, client, job, what, seconds):
    """Waits for the end of a job, and judges it."""
    state = drills.await_until(
        lambda: (seen := look_at_bulk(client, job))["endedAt"] and seen, seconds, 0.5
    )
    if not drill.report.check(
        state, f"{what}: not finished after {seconds} s: {look_at_bulk(client, job)}"
    ):
        return
    answer = client.send(
        "GET", state["resultUrl"][state["resultUrl"].index("/bulk/") :], client.credentials.api_key
    )
    results = [json.loads(line) for line in answer.text.splitlines()]
    numbers = [one["line"] for one in results]
    lost = sum("RESULT_LOST" in json.dumps(one) for one in results)
    drill.report.figure(
        f"{what}: {state['state']}, {len(results)} results of {state['lineCount']} lines, {lost} of them lost"
    )
    drill.report.check(state["state"] == "SUCCEEDED", f"{what}: {state}")
    drill.report.check(
        numbers == list(range(1, state["lineCount"] + 1)),
        f"{what}: results of other lines than there were",
    )
    drill.report.check(state["failedCount"] == lost, f"{what}: {state['failedCount']} lines failed")


def list_names(client, field, name):
    """The names of all groups or users."""
    found, after = [], None
    query = f"""query($a: String) {{ organization {{ {field}(first: 100, after: $a) {{
        nodes {{ {name} }} pageInfo {{ hasNextPage endCursor }} }} }} }}"""
    while True:
        page = client.ask(query, a=after)["organization"][field]
        found += [node[name] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return found


def check_groups(drill, client, expected, what):
    """Each group is there, once."""
    check_once(drill, list_names(client, "groups", "displayName"), expected, what)


def check_once(drill, found, expected, what):
    counts = dict.fromkeys(expected, 0)
    for name in found:
        if name in counts:
            counts[name] += 1
    missing = [name for name, count in counts.items() if count == 0]
    twice = [name for name, count in counts.items() if count > 1]
    drill.report.figure(
        f"{what}: {len(expected)} steps, {len(missing)} not done, {len(twice)} done twice"
    )
    drill.report.check(not missing, f"{what}: {len(missing)} steps were not done: {missing[:3]}")
    drill.report.check(not twice, f"{what}: {len(twice)} steps were done twice: {twice[:3]}")


def create_users(client, names):
    """Accounts through SCIM's Bulk, 500 at a time."""
    for start in range(0, len(names), 500):
        operations = [
            {
                "method": "POST",
                "path": "/Users",
                "bulkId": name,
                "data": {"schemas": [drills.USER], "userName": name, "externalId": name},
            }
            for name in names[start : start + 500]
        ]
        body = {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
            "Operations": operations,
        }
        answer = client.scim("POST", "/Bulk", body)
        assert answer.status == 200 and all(
            one["status"] == "201" for one in answer.json()["Operations"]
        ), answer


def count_live(client, connection):
    """How many accounts a connection has."""
    query = "query($c: ID!) { organization { users(first: 1, filter: { connectionId: $c }) { totalCount } } }"
    return client.ask(query, c=connection)["organization"]["users"]["totalCount"]


def list_deleted(client):
    """The accounts of which the ledger says that they were deleted with all of their connection."""
    found, after = [], None
    query = """query($a: String) { organization { events(first: 100, after: $a, filter: { actions: [USERS_DELETED_ALL] }) {
        nodes { before } pageInfo { hasNextPage endCursor } } } }"""
    while True:
        page = client.ask(query, a=after)["organization"]["events"]
        found += [id for node in page["nodes"] for id in node["before"]["ids"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return found


def count_findings(client):
    """How many differences the comparison has found."""
    return client.ask("{ organization { findings(first: 1) { totalCount } } }")["organization"][
        "findings"
    ]["totalCount"]
