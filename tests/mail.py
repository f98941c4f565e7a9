"""Raises alerts and invites people in a running server, and reads what a mail server by others gets. See tests/mail."""

import atexit
import email
import email.policy
import json
import logging
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

# That rolecall ends a handshake with a stranger is what one of the tests wants, and no news.
logging.disable(logging.CRITICAL)
rolecall, work = sys.argv[1], pathlib.Path(sys.argv[2])
USER, PASSWORD = "rolecall", "p\u00e4ss: word"


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], cwd=work, check=True, capture_output=True)


def make_certificates():
    """An authority, a certificate of it for localhost, and one for localhost that nobody vouches for."""
    for name in ("authority", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.pem")
        (work / "leaf.ext").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", f"{name}-leaf.key",
                "-out", f"{name}-leaf.csr")
        openssl("x509", "-req", "-in", f"{name}-leaf.csr", "-CA", f"{name}.pem", "-CAkey", f"{name}.key",
                "-CAcreateserial", "-days", "2", "-extfile", "leaf.ext", "-out", f"{name}-leaf.pem")


def context(name):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(work / f"{name}-leaf.pem", work / f"{name}-leaf.key")
    return made


class Mailbox:
    """Keeps what arrives, and whether the connection was encrypted and signed in."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        encrypted = session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None
        self.mails.append((envelope, message, encrypted, session.authenticated))
        return "250 kept"

    def wait(self, count):
        for _ in range(400):
            if len(self.mails) >= count:
                return self.mails[count - 1]
            time.sleep(0.05)
        raise SystemExit(f"only {len(self.mails)} of {count} mails came")


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good)


class StartTlsController(Controller):
    def factory(self):
        return SMTP(self.handler, tls_context=context(self.certificate), require_starttls=True,
                    authenticator=authenticate, auth_required=True)


def start_tls(certificate):
    box = Mailbox()
    controller = StartTlsController(box, hostname="localhost", port=0)
    controller.certificate = certificate
    return box, begin(controller)


def implicit_tls():
    box = Mailbox()
    return box, begin(Controller(box, hostname="localhost", port=0, ssl_context=context("authority")))


def begin(controller):
    # The controller would connect to itself, on port 0 and without TLS: that it listens is enough here.
    def take_as_ready():
        controller.smtpd = True
        controller._factory_invoked.set()

    controller._trigger_server = take_as_ready
    controller.start()
    return controller


def port_of(controller):
    return controller.server.sockets[0].getsockname()[1]


class Rolecall:
    """A server with an organization, and these settings."""

    def __init__(self, name, **settings):
        self.folder = work / name
        self.folder.mkdir()
        self.environment = os.environ | {"ROLECALL_DATA_DIR": str(self.folder), "ROLECALL_LOG": "warn"} | settings
        atexit.register(lambda: self.process.kill())
        for _ in range(10):
            self.listen = f"127.0.0.1:{20000 + int.from_bytes(os.urandom(2)) % 12000}"
            self.log = open(self.folder / "log", "wb")
            self.process = subprocess.Popen([rolecall, "serve", "--listen", self.listen], env=self.environment,
                                            stderr=self.log)
            if self.is_ready():
                break
        made = subprocess.run([rolecall, "bootstrap", "--organization", "acme", "--public-url", f"http://{self.listen}",
                               "--json"], env=self.environment, check=True, capture_output=True)
        self.key = json.loads(made.stdout)["graphql"]["api_key"]

    def is_ready(self):
        while self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://{self.listen}/readyz", timeout=2)
                return True
            except OSError:
                time.sleep(0.05)
        return False

    def graphql(self, query, **variables):
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"http://{self.listen}/graphql", body, headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer = json.load(answer)
        assert "errors" not in answer, answer
        return answer["data"]

    def add_recipient(self, address, name):
        added = self.graphql("""mutation($a: String!, $n: String!) { mailRecipientAdd(input: { address: $a, name: $n }) {
            mailRecipient { id } userErrors { message } } }""", a=address, n=name)["mailRecipientAdd"]
        assert added["userErrors"] == [], added
        return added["mailRecipient"]["id"]

    def test(self, recipient):
        done = self.graphql("""mutation($i: ID!) { mailRecipientTest(input: { id: $i }) {
            mailRecipient { testPending } userErrors { message } } }""", i=recipient)["mailRecipientTest"]
        assert done["userErrors"] == [] and done["mailRecipient"]["testPending"], done

    def recipients(self):
        return self.graphql("""{ organization { mailEnabled mailRecipients {
            address testPending lastMailedAt failingSince lastError } } }""")["organization"]

    def wait_for(self, condition):
        for _ in range(400):
            found = self.recipients()["mailRecipients"][0]
            if condition(found):
                return found
            time.sleep(0.05)
        raise SystemExit(f"it did not come to this: {found}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        self.log.close()
        return (self.folder / "log").read_text()


def parts_of(message):
    kinds = {part.get_content_type(): part.get_content() for part in message.iter_parts()}
    assert set(kinds) == {"text/plain", "text/html"}, kinds
    return kinds["text/plain"], kinds["text/html"]


make_certificates()
(work / "password").write_text(PASSWORD + "\n")

# STARTTLS, a sign-in, and the authority as a setting.
box, controller = start_tls("authority")
server = Rolecall("starttls", ROLECALL_SMTP_URL=f"smtp://localhost:{port_of(controller)}", ROLECALL_SMTP_USER=USER,
                  ROLECALL_SMTP_PASSWORD_FILE=str(work / "password"), ROLECALL_SMTP_CA_FILE=str(work / "authority.pem"),
                  ROLECALL_SMTP_FROM="Access <access@acme.example>")
assert server.recipients()["mailEnabled"]
ada = server.add_recipient("ada@acme.example", "Ada Lov\u00e9lace, \"the\" <first>")
server.test(ada)
envelope, message, encrypted, signed_in = box.wait(1)
assert encrypted and signed_in, "the connection was not encrypted, or not signed in"
assert envelope.rcpt_tos == ["ada@acme.example"] and envelope.mail_from == "access@acme.example", envelope.rcpt_tos
assert [one.addr_spec for one in message["To"].addresses] == ["ada@acme.example"], message["To"]
assert message["To"].addresses[0].display_name == "Ada Lov\u00e9lace, \"the\" <first>", message["To"]
assert message["From"].addresses[0].addr_spec == "access@acme.example"
assert message["Subject"] == "[acme] a test of mail about alerts", message["Subject"]
assert message["Auto-Submitted"] == "auto-generated" and message["Message-ID"].endswith("@acme.example>")
text, html = parts_of(message)
assert "This is a test" in text and "This is a test" in html
found = server.wait_for(lambda row: row["lastMailedAt"])
assert not found["testPending"] and found["failingSince"] is None, found

# A change of a rule evaluates all rules: the key of the bootstrap has no owner. The test was a moment ago, so that the
# mail about it waits; a second recipient gets it at once.
bob = server.add_recipient("bob@acme.example", "")
server.graphql("""mutation { alertRuleSet(input: { kind: FAILURES_WAIT, threshold: 5 }) { userErrors { message } } }""")
envelope, message, encrypted, signed_in = box.wait(2)
assert envelope.rcpt_tos == ["bob@acme.example"] and encrypted and signed_in
text, html = parts_of(message)
assert "has no owner" in message["Subject"] and "NOTICE: The API key" in text, text
assert "What to do: Issue a key" in text and "<h3>NOTICE: The API key &quot;" in html, html
kinds = server.graphql("{ organization { alerts(first: 9) { nodes { kind state } } } }")["organization"]["alerts"]
assert kinds["nodes"] == [{"kind": "BOOTSTRAP_KEY_ALIVE", "state": "RAISED"}], kinds
time.sleep(0.3)
assert len(box.mails) == 2
log = server.end()
assert PASSWORD not in log and log == "", log
controller.stop()

# TLS from the beginning: the test of a recipient, and an invitation with its link.
box, controller = implicit_tls()
server = Rolecall("implicit", ROLECALL_SMTP_URL=f"smtps://localhost:{port_of(controller)}",
                  ROLECALL_SMTP_CA_FILE=str(work / "authority.pem"))
server.test(server.add_recipient("ada@acme.example", "Ada"))
envelope, message, encrypted, _ = box.wait(1)
assert encrypted and envelope.rcpt_tos == ["ada@acme.example"]

# What would be several headers or several recipients is refused.
RENAME = "mutation($n: String!) { organizationUpdate(input: { name: $n }) { userErrors { path message } } }"
INVITE = """mutation($e: String!, $r: [ID!]!) { invitationCreate(input: { email: $e, roles: $r }) {
    secret invitation { id } userErrors { path message } } }"""
NAME = "Acme \"& <b>Sons</b>\" \u00fc, Bcc: eve@evil.example"
broken = server.graphql(RENAME, n="Acme\r\nBcc: eve@evil.example")["organizationUpdate"]["userErrors"]
assert broken[0]["path"] == ["input", "name"], broken
assert server.graphql(RENAME, n=NAME)["organizationUpdate"]["userErrors"] == []
role = server.graphql("""mutation { roleCreate(input: { name: "Guest" }) { role { id } } }""")["roleCreate"]["role"]["id"]
for wrong in ("bob@acme.example\r\nBcc: eve@evil.example", "bob@acme.example, eve@evil.example", "<bob@acme.example>",
              "Bob <bob@acme.example>", "bob@acme.example>\r\nDATA", "b\u00f6b@acme.example"):
    refused = server.graphql(INVITE, e=wrong, r=[role])["invitationCreate"]
    assert refused["invitation"] is None and refused["userErrors"][0]["path"] == ["input", "email"], (wrong, refused)
invited = server.graphql(INVITE, e="bob@acme.example", r=[role])["invitationCreate"]
assert invited["userErrors"] == [], invited
envelope, message, encrypted, _ = box.wait(2)
assert encrypted and envelope.rcpt_tos == ["bob@acme.example"], envelope.rcpt_tos
assert [one.addr_spec for one in message["To"].addresses] == ["bob@acme.example"], message["To"]
assert message["Bcc"] is None and message["Cc"] is None and len(message.get_all("Subject")) == 1
assert message["Subject"] == f"[{NAME}] You are invited", message["Subject"]
text, html = parts_of(message)
assert "<b>Sons" not in html and "&lt;b&gt;Sons" in html, html
assert invited["secret"] in text and invited["secret"] in html, text
assert message["Auto-Submitted"] == "auto-generated" and message["X-Evil"] is None


def answer_of(path, body=None, method=None):
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://{server.listen}{path}", body and json.dumps(body).encode(), headers,
                                     method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


# Looking at the link spends nothing: only what its page posts redeems it, once.
page, secret = invited["secret"].split("#link=")
for _ in range(2):
    status, shown = answer_of(urllib.parse.urlsplit(page).path)
    assert status == 200 and "bob" not in shown and "Acme" not in shown, (status, shown)
assert answer_of(f"/invitation/redeem?secret={secret}")[0] == 405
status, redeemed = answer_of("/invitation/redeem", {"secret": secret})
assert status == 200 and "expiresAt" in json.loads(redeemed), (status, redeemed)
status, again = answer_of("/invitation/redeem", {"secret": secret})
assert status == 410 and json.loads(again)["code"] == "LINK_ENDED", (status, again)
states = server.graphql("{ organization { invitations(first: 9) { nodes { state sentCount } } } }")["organization"]
assert states["invitations"]["nodes"] == [{"state": "REDEEMED", "sentCount": 1}], states
time.sleep(0.3)
assert len(box.mails) == 2, "a mail that was accepted is not sent again"
log = server.end()
assert log == "" and secret not in log, log
controller.stop()

# A certificate of an authority that is not trusted: no mail, and no sign-in.
box, controller = start_tls("stranger")
server = Rolecall("stranger", ROLECALL_SMTP_URL=f"smtp://localhost:{port_of(controller)}", ROLECALL_SMTP_USER=USER,
                  ROLECALL_SMTP_PASSWORD_FILE=str(work / "password"), ROLECALL_SMTP_CA_FILE=str(work / "authority.pem"))
server.test(server.add_recipient("ada@acme.example", "Ada"))
found = server.wait_for(lambda row: row["lastError"])
assert found["failingSince"] and found["testPending"] and "certificate" in found["lastError"].lower(), found
assert box.mails == []
log = server.end()
assert "did not accept a mail" in log and "ada@acme.example" not in log and PASSWORD not in log, log
controller.stop()
print("mail: STARTTLS, TLS from the beginning, an invitation with its link, and a certificate that is not trusted")
