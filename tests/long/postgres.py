"""Private PostgreSQL clusters, as tests/postgres makes them, that a drill may starve, freeze, kill and promote."""

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

import drill as drills

PASSWORD = secrets.token_hex(16)


def find_programs():
    """The folder with the server's programs; installs Debian's package where there is none."""
    for attempt in (0, 1):
        folders = [Path(folder) for folder in os.get_exec_path()]
        folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) + sorted(
            Path("/usr").glob("pgsql-*/bin")
        )
        for folder in folders:
            if all(
                (folder / program).exists()
                for program in ("initdb", "pg_ctl", "postgres", "pg_basebackup")
            ):
                return folder
        if not attempt:
            drills.install("a PostgreSQL server", "postgresql", "postgresql-client")
    raise SystemExit("PostgreSQL was installed, but its programs were not found")


def owner():
    """Whose the clusters are: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SystemExit("there is no account that could own a PostgreSQL cluster")


class Cluster:
    """One PostgreSQL server. Its durability is that of the operating system: a killed process loses nothing."""

    def __init__(self, drill, name="postgres", settings=None, folder=None, log_folder=None):
        self.drill, self.programs, self.owner = drill, find_programs(), owner()
        self.home = folder or drill.folder / name
        self.data, self.log = self.home / "data", drill.folder / f"{name}.log"
        self.home.mkdir(exist_ok=True)
        self.log.touch()
        if log_folder:
            log_folder.mkdir(exist_ok=True)
        for path in filter(None, (self.home, self.log, log_folder)):
            self._give_away(path)
        self.port, self.settings, self.log_folder = drills.free_port(), settings or {}, log_folder
        self.password_file = drill.folder / "postgres.password"
        if not self.password_file.exists():
            self.password_file.write_text(PASSWORD)
            self.password_file.chmod(0o600)
            self._give_away(self.password_file)
        drill.stack.callback(self.end)

    def _give_away(self, path):
        if self.owner:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)

    def _run(self, program, *arguments, check=True):
        as_owner = (
            {"user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}
            if self.owner
            else {}
        )
        with open(self.log, "ab") as log:
            return subprocess.run(
                [self.programs / program, *arguments],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PGPASSWORD": PASSWORD},
                check=check,
                **as_owner,
            )

    def create(self):
        """Makes the cluster, and starts it."""
        log_folder = ["--waldir", self.log_folder] if self.log_folder else []
        self._run(
            "initdb",
            "-D",
            self.data,
            "-U",
            "postgres",
            "--auth=password",
            f"--pwfile={self.password_file}",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--wal-segsize=1",
            *log_folder,
        )
        self._configure()
        return self.start()

    def _configure(self):
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": "''",
            "port": self.port,
            "fsync": "off",
            "max_connections": 100,
            "min_wal_size": "2MB",
            "max_wal_size": "32MB",
            "log_min_messages": "warning",
        }
        with open(self.data / "postgresql.auto.conf", "a") as file:
            file.writelines(
                f"{name} = {value}\n" for name, value in (settings | self.settings).items()
            )

    def start(self):
        # What is left of a killed server may hold on to its memory for a moment.
        start = ("pg_ctl", "start", "-w", "-t", "60", "-D", self.data, "-l", self.log)
        if not drills.await_until(lambda: self._run(*start, check=False).returncode == 0, 30, 0.2):
            raise SystemExit(f"PostgreSQL does not start:\n{self.log.read_text()[-2000:]}")
        return self

    def restart(self):
        self._run("pg_ctl", "restart", "-w", "-D", self.data, "-m", "fast", "-l", self.log)

    def follow(self, primary):
        """Makes this cluster a standby of `primary`, and starts it."""
        shutil.rmtree(self.data, ignore_errors=True)
        self._run(
            "pg_basebackup",
            "-D",
            self.data,
            "-d",
            f"host=127.0.0.1 port={primary.port} user=postgres",
            "-R",
            "--checkpoint=fast",
            "--no-sync",
        )
        self._configure()
        return self.start()

    def promote(self):
        self._run("pg_ctl", "promote", "-w", "-t", "60", "-D", self.data)

    def reload(self):
        self._run("pg_ctl", "reload", "-D", self.data)

    def end(self):
        if self.master():
            self.thaw()
            self._run("pg_ctl", "stop", "-D", self.data, "-m", "immediate", "-t", "20", check=False)

    def url(self, port=None):
        """The address, or that of a proxy before it."""
        return f"postgres://postgres:{PASSWORD}@127.0.0.1:{port or self.port}/postgres"

    def query(self, text, seconds=30):
        """The rows of a statement, as text."""
        done = subprocess.run(
            ["psql", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text, self.url()],
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip().splitlines()

    def answers(self):
        try:
            return self.query("SELECT 1", 5) == ["1"]
        except (RuntimeError, subprocess.TimeoutExpired):
            return False

    def hold_connections(self, count):
        """Takes so many connections away from everything else; the idle clients that hold them."""
        command = ["psql", "-q", self.url()]
        held = []
        until = time.monotonic() + 30
        while time.monotonic() < until:
            # One that came too early has ended.
            held = [client for client in held if client.poll() is None]
            if len(held) == count:
                return held
            held += [
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                for _ in range(count - len(held))
            ]
            time.sleep(2)
        raise SystemExit(f"{count} connections could not be taken")

    def master(self):
        """The process id of the postmaster, if it lives."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, 0)
            return pid
        except (OSError, ValueError, IndexError):
            return None

    def processes(self):
        """The process ids of the postmaster and all that it has started."""
        master = self.master()
        if master is None:
            return []
        found = [master]
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if int(re.sub(r"^.*\) ", "", (folder / "stat").read_text()).split()[1]) == master:
                    found.append(int(folder.name))
            except (OSError, ValueError, IndexError):
                continue
        return found

    def backends(self):
        """The process ids of those that serve clients, other than who asks."""
        where = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        return [int(pid) for pid in self.query(f"SELECT pid FROM pg_stat_activity WHERE {where}")]

    def freeze(self):
        """Stops every process where it is."""
        for pid in self.processes():
            _signal(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in reversed(self.processes()):
            _signal(pid, signal.SIGCONT)

    def kill(self):
        """Kills the postmaster; the others notice, and end."""
        processes = self.processes()
        _signal(processes[0], signal.SIGKILL)
        if not drills.await_until(lambda: not any(_lives(pid) for pid in processes), 20):
            for pid in processes:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.2)


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _lives(pid):
    try:
        return not re.search(r"\) [ZX] ", Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return False
