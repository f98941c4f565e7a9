"""Fills a SCIM source, pulls it with rolecall, and compares: what is here is what is there. See tests/source."""

import base64
import json
import sys
import time
import urllib.error
import urllib.request

graphql_url, acme, source_url, secret = sys.argv[1:]
api_key = json.load(open(acme))["graphql"]["api_key"]
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def call(method, url, token, body=None):
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {url}: {error.code} {error.read().decode()}")
    return json.loads(text) if text else None


def graphql(query, **variables):
    answer = call("POST", graphql_url, api_key, {"query": query, "variables": variables})
    assert "errors" not in answer, answer
    return answer["data"]


def scim(method, path, body=None):
    return call(method, source_url + path, secret, body)


def user(user_name, **more):
    schemas = ["urn:ietf:params:scim:schemas:core:2.0:User"] + [urn for urn in more if urn == ENTERPRISE]
    return scim("POST", "/Users", {"schemas": schemas, "userName": user_name, "active": True, **more})


def group(name, members):
    members = [{"value": one["id"], "type": kind} for kind, one in members]
    schemas = ["urn:ietf:params:scim:schemas:core:2.0:Group"]
    return scim("POST", "/Groups", {"schemas": schemas, "displayName": name, "members": members})


def patch(path, *operations):
    scim("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})


def listed(endpoint):
    found, total = [], 1
    while len(found) < total:
        page = scim("GET", f"/{endpoint}?startIndex={len(found) + 1}&count=50")
        total = page["totalResults"]
        found += page.get("Resources", [])
        if not page.get("Resources"):
            break
    return found


def emails(them):
    return sorted(email["value"] for email in them or [])


def there():
    """What the source has, in the words of `here`."""
    people, groups = listed("Users"), listed("Groups")
    names = {one["id"]: one.get("userName") or one["displayName"] for one in people + groups}
    users = {
        one["id"]: {
            "userName": one["userName"],
            "active": one.get("active", True),
            "title": one.get("title"),
            "givenName": one.get("name", {}).get("givenName"),
            "emails": emails(one.get("emails")),
            "manager": one.get(ENTERPRISE, {}).get("manager", {}).get("value"),
        }
        for one in people
    }
    # It keeps members that it has no more.
    members = lambda one: sorted(names[it["value"]] for it in one.get("members", []) if it["value"] in names)
    return users, {one["id"]: (one["displayName"], members(one)) for one in groups}


def everything(field, size, nodes):
    found, after = [], None
    while True:
        query = "query($after: String) { organization { %s(first: %d, after: $after) { nodes { %s } pageInfo { hasNextPage endCursor } } } }"
        page = graphql(query % (field, size, nodes), after=after)["organization"][field]
        found += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return found


def bare(id):
    """The account's own id within a global one."""
    return base64.urlsafe_b64decode(id + "=" * (-len(id) % 4)).decode().split(":", 1)[1]


def here():
    """What rolecall has of the connection, by the source's ids."""
    people = everything("users", 100, "id externalId userName active title givenName emails { value } attributes")
    ids = {bare(one["id"]): one["externalId"] for one in people}
    users = {}
    for one in people:
        manager = one["attributes"].get(ENTERPRISE, {}).get("manager", {}).get("value")
        users[one["externalId"]] = {
            "userName": one["userName"],
            "active": one["active"],
            "title": one["title"],
            "givenName": one["givenName"],
            "emails": emails(one["emails"]),
            "manager": manager and ids[manager],
        }
    groups = everything(
        "groups",
        20,
        "externalId displayName members(first: 100) { nodes { ... on User { userName } ... on Group { displayName } } }",
    )
    members = lambda one: sorted(node.get("userName") or node["displayName"] for node in one["members"]["nodes"])
    return users, {one["externalId"]: (one["displayName"], members(one)) for one in groups}


def same(what):
    assert (ours := here()) == (theirs := there()), f"{what}:\nhere:  {ours}\nthere: {theirs}"
    print(f"  {what}: {len(theirs[0])} users and {len(theirs[1])} groups are here as they are there")


RUN = """state message troubles { remoteId message } users { read created updated suspended deleted unchanged failed }
    groups { read created updated deleted unchanged failed }"""


def run(mode):
    start = "mutation($c: ID!, $m: SyncMode!) { syncStart(input: { connectionId: $c, mode: $m }) { syncRun { id } userErrors { message } } }"
    begun = graphql(start, c=connection, m=mode)["syncStart"]
    assert begun["syncRun"], begun
    while True:
        seen = graphql("query($r: ID!) { organization { syncRun(id: $r) { endedAt %s } } }" % RUN, r=begun["syncRun"]["id"])
        seen = seen["organization"]["syncRun"]
        if seen["endedAt"] or seen["state"] == "WAITING":
            assert seen["state"] == "SUCCEEDED" and seen["troubles"] == [], (mode, seen)
            return seen
        time.sleep(0.05)


def counts(run, kind, **expected):
    told = {name: run[kind][name] for name in expected}
    assert told == expected, (told, expected, run)


boss = user("boss@example.com", title="Director", name={"givenName": "Grace", "familyName": "Ng"})
people = [
    user(
        f"person{n}@example.com",
        title="Nurse",
        name={"givenName": f"P{n}", "familyName": "Okafor"},
        emails=[{"value": f"person{n}@example.com", "type": "work", "primary": True}],
        **({ENTERPRISE: {"manager": {"value": boss["id"]}}} if n % 3 == 0 else {}),
    )
    for n in range(70)
]
wards = [group(f"Ward {n}", [("User", one) for one in people[n * 10 : n * 10 + 10]]) for n in range(6)]
hospital = group("Hospital", [("Group", ward) for ward in wards] + [("User", boss)])

pull = {"baseUrl": source_url, "secret": secret, "pageSize": 25}
make = "mutation($p: PullSourceInput!) { connectionCreate(input: { name: \"Source\", pull: $p }) { connection { id } userErrors { message } } }"
made = graphql(make, p=pull)["connectionCreate"]
assert made["connection"], made
connection = made["connection"]["id"]
look = "mutation($c: ID!) { pullSourceTest(input: { connectionId: $c }) { ok steps { probe ok message nextStep } } }"
looked = graphql(look, c=connection)["pullSourceTest"]
assert looked["ok"], looked

counts(run("DRY_RUN"), "users", read=71, created=71)
assert here() == ({}, {}), "a dry run changes nothing"
full = run("FULL")
counts(full, "users", read=71, created=71, failed=0)
counts(full, "groups", read=7, created=7, failed=0)
same("a full run")
again = run("FULL")
counts(again, "users", unchanged=71, updated=0)
counts(again, "groups", unchanged=7, updated=0)
same("the same again")

patch(f"/Users/{people[0]['id']}", {"op": "replace", "path": "title", "value": "Head nurse"})
patch(f"/Users/{people[1]['id']}", {"op": "replace", "path": "active", "value": False})
patch(f"/Users/{people[2]['id']}", {"op": "replace", "path": "userName", "value": "renamed@example.com"})
patch(f"/Users/{people[3]['id']}", {"op": "remove", "path": f"{ENTERPRISE}:manager"})
newcomer = user("newcomer@example.com", **{ENTERPRISE: {"manager": {"value": people[69]["id"]}}})
patch(f"/Groups/{wards[0]['id']}", {"op": "add", "path": "members", "value": [{"value": newcomer["id"], "type": "User"}]})
patch(f"/Groups/{wards[1]['id']}", {"op": "remove", "path": f"members[value eq \"{people[10]['id']}\"]"})
changed = run("INCREMENTAL")
counts(changed, "users", created=1, suspended=1)
same("an incremental run")

scim("DELETE", f"/Users/{people[68]['id']}")
scim("DELETE", f"/Groups/{wards[5]['id']}")
gone = run("FULL")
counts(gone, "users", deleted=1)
counts(gone, "groups", deleted=1)
same("after removals at the source")
