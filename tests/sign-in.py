"""People of an identity provider by others (canaille) sign in, while it pushes them over SCIM. See tests/sign-in."""

import datetime
import html
import json
import logging
import pathlib
import re
import socket
import sys
import threading
import urllib.parse

import dns.message
import dns.rdatatype
import dns.rrset
import httpx
from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from canaille.oidc.jose import make_default_rsa_jwk
from werkzeug.serving import WSGIRequestHandler, make_server

server, made = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
KEY, SCIM = made["graphql"]["api_key"], made["scim"]
PASSWORD, SECRET = "correct horse battery staple", "the-secret-of-the-client"
logging.disable(logging.CRITICAL)


class QuietHandler(WSGIRequestHandler):
    def log(self, *_):
        pass


# The address has to be known before the provider is made, because it is the provider's name.
serving = make_server("127.0.0.1", 0, None, threaded=True, request_handler=QuietHandler)
issuer = f"http://127.0.0.1:{serving.server_port}"
provider = serving.app = create_app({
    "SECRET_KEY": "not a secret",
    "SERVER_NAME": f"127.0.0.1:{serving.server_port}",
    "PREFERRED_URL_SCHEME": "http",
    "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False, "HTMX": False, "SMTP": None},
    "CANAILLE_OIDC": {"ACTIVE_JWKS": [make_default_rsa_jwk().as_dict(private=True)]},
    "CANAILLE_SCIM": {"ENABLE_CLIENT": True},
})
logging.disable(logging.CRITICAL)
threading.Thread(target=serving.serve_forever, daemon=True).start()


def at_provider(act):
    with provider.app_context(), Backend.instance.session():
        return act()


def make_client():
    """The provider pushes to the address of the client, with the client's token: SCIM's are set for both."""
    client = models.Client(
        client_id="rolecall", client_name="rolecall", client_secret=SECRET, client_uri=SCIM["base_url"],
        redirect_uris=[f"{server}/later"], grant_types=["authorization_code"], response_types=["code"],
        scope=["openid", "profile", "email", "groups"], token_endpoint_auth_method="client_secret_basic",
        id_token_signed_response_alg="RS256",
    )
    Backend.instance.save(client)
    # As its own page for clients does.
    client.audience = [client]
    Backend.instance.save(client)
    token = models.Token(token_id="scim", access_token=SCIM["token"], client=client, audience=[client],
                         scope=["openid"], lifetime=3600, issue_date=datetime.datetime.now(datetime.timezone.utc))
    Backend.instance.save(token)


def register(redirect_uri):
    """The connection has an address of its own, to which people come back."""
    client = Backend.instance.get(models.Client, client_id="rolecall")
    client.redirect_uris = [redirect_uri]
    Backend.instance.save(client)


def make_person(name, given):
    user = models.User(user_name=name, formatted_name=f"{given} Example", given_name=given, family_name="Example",
                       display_name=given, emails=[f"{name}@acme.example"], password=PASSWORD)
    Backend.instance.save(user)


def change_group(name, *members):
    """The provider has the group with these members, and tells who is in it."""
    # Where it looks for the token of a client, it also finds those of people: these are done with.
    for token in Backend.instance.query(models.Token):
        if token.token_id != "scim":
            Backend.instance.delete(token)
    group = Backend.instance.get(models.Group, display_name=name) or models.Group(display_name=name)
    group.members = [Backend.instance.get(models.User, user_name=member) for member in members]
    Backend.instance.save(group)


def graphql(query, key=KEY, **variables):
    answer = httpx.post(f"{server}/graphql", headers={"authorization": f"Bearer {key}"},
                        json={"query": query, "variables": variables}, timeout=20).json()
    assert "errors" not in answer, answer
    return answer["data"]


def mutate(mutation, wanted, **given):
    kind = mutation[0].upper() + mutation[1:]
    done = graphql(f"mutation($input: {kind}Input!) {{ {mutation}(input: $input) {{ {wanted} userErrors {{ message }} }} }}",
                   input=given)[mutation]
    assert done["userErrors"] == [], done
    return done


class Browser:
    """Keeps the cookies of both servers, and follows redirects."""

    def __init__(self):
        self.jars = {}
        self.http = httpx.Client(timeout=20)

    def open(self, url, form=None):
        for _ in range(20):
            origin = urllib.parse.urljoin(url, "/")
            jar = self.jars.setdefault(origin, {})
            headers = {"cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
            if form is None:
                answer = self.http.get(url, headers=headers)
            else:
                answer = self.http.post(url, headers=headers | {"referer": url}, data=form)
            self.http.cookies.clear()
            for line in answer.headers.get_list("set-cookie"):
                name, value = line.split(";")[0].split("=", 1)
                jar[name] = value
            target = answer.headers.get("location")
            if target is None:
                return url, answer
            url, form = urllib.parse.urljoin(url, target), None
            if urllib.parse.urlsplit(url).fragment:
                return url, answer
        raise SystemExit("redirected in circles")

    def fill(self, url, page, **given):
        """Sends the form of a page with these values."""
        fields = {}
        for tag in re.findall(r"<input[^>]*>", page.text):
            values = {key: html.unescape(value) for key, value in re.findall(r'(\w+)="([^"]*)"', tag)}
            if values.get("type") == "hidden" and "name" in values:
                fields[values["name"]] = values.get("value", "")
        return self.open(url, fields | given)


def sign_in(name):
    """The person opens the console; returns the last page, or the session of the console."""
    browser = Browser()
    url, page = browser.open(f"{server}/sign-in/acme")
    assert url.startswith(issuer), (url, page.text)
    url, page = browser.fill(url, page, login=name)
    url, page = browser.fill(url, page, password=PASSWORD)
    code = urllib.parse.urlsplit(url).fragment.removeprefix("link=")
    if not code:
        return page.text
    # Only the browser that signed in opens the session.
    jar = browser.jars[urllib.parse.urljoin(server, "/")]
    cookies = {"cookie": "; ".join(f"{known}={value}" for known, value in jar.items())}
    link = {"code": code}
    assert httpx.post(f"{server}/console/redeem", json=link).status_code == 403
    opened = httpx.post(f"{server}/console/redeem", json=link, headers=cookies)
    return opened.raise_for_status().json()


def people():
    found = graphql("""{ organization { users(first: 9, orderBy: { field: USER_NAME }) { nodes {
        userName active connection { name } groups(first: 9) { nodes { displayName } }
        roles { role { name } sources { saidAtSignIn { text } } } } } } }""")["organization"]["users"]["nodes"]
    return {one["userName"]: one for one in found}


def held(person):
    groups = sorted(group["displayName"] for group in person["groups"]["nodes"])
    return groups, sorted(role["role"]["name"] for role in person["roles"])


def answer_dns():
    """Answers questions for TXT records, as a name server does."""
    address, port = sys.argv[3].split(":")
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind((address, int(port)))

    def serve():
        while True:
            text, peer = listening.recvfrom(4096)
            query = dns.message.from_wire(text)
            answer, asked = dns.message.make_response(query), query.question[0]
            value = records.get(asked.name.to_text().lower())
            if value and asked.rdtype == dns.rdatatype.TXT:
                answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "TXT", f'"{value}"'))
            listening.sendto(answer.to_wire(), peer)

    threading.Thread(target=serve, daemon=True).start()


# Its library refuses what is younger than it is.
push = graphql("{ organization { connections(first: 1) { nodes { id } } } }")["organization"]["connections"]["nodes"][0]
mutate("connectionUpdate", "connection { id }", id=push["id"], announcesCursorPaging=False)

at_provider(make_client)
at_provider(lambda: make_person("ada", "Ada"))
at_provider(lambda: make_person("bob", "Bob"))
at_provider(lambda: change_group("Administrators", "ada"))
at_provider(lambda: change_group("Nurses", "ada", "bob"))
pushed = people()
assert {name: held(one)[0] for name, one in pushed.items()} == {
    "ada": ["Administrators", "Nurses"], "bob": ["Nurses"]}, pushed
for group, permissions in (("Administrators", ["IAM_READ"]), ("Nurses", [])):
    role = mutate("roleCreate", "role { id }", name=f"role of {group}", permissions=permissions)["role"]["id"]
    awaits = {"connectionId": push["id"], "attribute": "DISPLAY_NAME", "value": group}
    mutate("roleMappingCreate", "roleMapping { id }", awaits=awaits, roleId=role)

# The provider's `preferred_username` is a name for people; what SCIM calls the user name is its `sub`.
oidc = {"issuer": issuer, "clientId": "rolecall", "clientSecret": SECRET, "claims": {"userName": "/sub"},
        "scopes": ["openid", "profile", "email", "groups"], "consolePermissions": ["IAM_READ"]}
made = mutate("connectionCreate", "connection { id assertionSource { oidc { redirectUri } } }", name="Sign-in",
              provider="GENERIC", assertion={"oidc": oidc}, claims={"groupIdentity": "DISPLAY_NAME"})["connection"]
source = made["id"]
at_provider(lambda: register(made["assertionSource"]["oidc"]["redirectUri"]))
probe = graphql("mutation($c: ID!) { assertionSourceTest(input: { connectionId: $c }) { ok steps { message } } }", c=source)
assert probe["assertionSourceTest"]["ok"], probe

# SCIM says who is in which group, and sign-ins say the same.
before = people()
session = sign_in("ada")
assert graphql("{ viewer { permissions } }", key=session["token"])["viewer"]["permissions"] == ["IAM_READ"], session
assert "none of your roles" in sign_in("bob")
assert people() == before
findings = graphql("{ organization { findings(first: 1) { totalCount } } }")["organization"]["findings"]["totalCount"]
assert findings == 0, findings

# Now sign-ins decide: what the provider pushes is refused, and what it says at a sign-in holds.
mutate("organizationUpdate", "organization { id }", integrationMode="SIGN_IN")
at_provider(lambda: change_group("Administrators", "bob"))
assert {name: held(one) for name, one in people().items()} == {name: held(one) for name, one in before.items()}
assert "none of your roles" in sign_in("ada")
session = sign_in("bob")
assert graphql("{ viewer { permissions } }", key=session["token"])["viewer"]["permissions"] == ["IAM_READ"], session
now = people()
assert held(now["ada"]) == (["Nurses"], ["role of Nurses"]), now["ada"]
assert held(now["bob"]) == (["Administrators", "Nurses"], ["role of Administrators", "role of Nurses"]), now["bob"]
told = [one["saidAtSignIn"]["text"] for role in now["bob"]["roles"] for one in role["sources"]]
assert len(told) == 2 and all(text.startswith("said by Sign-in at sign-in on ") for text in told), told
assert all(one["connection"]["name"] == before[name]["connection"]["name"] for name, one in now.items()), now
events = graphql("""{ organization { events(first: 9, filter: { actions: [USER_CLAIMS_CHANGED] }) { totalCount } } }""")
assert events["organization"]["events"]["totalCount"] == 2, events

# Back: what SCIM said is there again, and the provider pushes what has changed since.
mutate("organizationUpdate", "organization { id }", integrationMode="SCIM")
assert {name: held(one) for name, one in people().items()} == {name: held(one) for name, one in before.items()}
at_provider(lambda: change_group("Administrators", "bob"))
after = people()
assert held(after["ada"])[0] == ["Nurses"] and held(after["bob"])[0] == ["Administrators", "Nurses"], after

# Just in time: a person whom only the provider knows gets an account at the first sign-in, once the domain is proven.
mutate("organizationUpdate", "organization { id }", integrationMode="SIGN_IN")
named = {"userName": "/email", "email": "/email", "emailVerified": None}
mutate("connectionUpdate", "connection { id }", id=source, assertion={"oidc": {"claims": named}},
       claims={"accountCreation": "CREATE"})
at_provider(lambda: make_person("eve", "Eve"))
assert "DOMAIN_NOT_PROVEN" in sign_in("eve")
records = {}
answer_dns()
domain = mutate("domainAdd", "domain { id recordName recordValue }", name="acme.example")["domain"]
records[f"{domain['recordName']}."] = domain["recordValue"]
proven = mutate("domainProve", "domain { state }", id=domain["id"])["domain"]
assert proven["state"] == "PROVEN", proven
assert "none of your roles" in sign_in("eve")
eve = people()["eve@acme.example"]
assert (eve["active"], eve["connection"]["name"]) == (True, "Sign-in"), eve
assert "none of your roles" in sign_in("eve")
assert len(people()) == len(after) + 1, people()
serving.shutdown()
print("canaille: pushed over SCIM, sign-ins beside it and instead of it, and back; a proven domain, and an account just in time")
