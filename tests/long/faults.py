"""The other end of faults.c: which file operation of a server fails, how, and for how long."""

import errno
import mmap
import os
import struct
import subprocess
from pathlib import Path

import drill as drills

WRITE, SYNC, TRUNCATE, LOCK, UNLOCK, OPEN, READ, MAP, UNLINK = (1 << bit for bit in range(9))
CALLS = {
    "write": WRITE,
    "sync": SYNC,
    "truncate": TRUNCATE,
    "lock": LOCK,
    "unlock": UNLOCK,
    "open": OPEN,
    "read": READ,
    "map": MAP,
    "unlink": UNLINK,
}
DATABASE, LOG, INDEX, OTHER = 1, 2, 4, 8
FILES = {
    "the database": DATABASE,
    "the write-ahead log": LOG,
    "its index": INDEX,
    "other files": OTHER,
}
ANY_FILE = DATABASE | LOG | INDEX | OTHER
_LAYOUT = struct.Struct("=8I")


class Faults:
    """A library to preload into one server, and the map through which it is told what is to fail."""

    def __init__(self, drill, folder):
        if not _has_compiler():
            drills.install("a C compiler", "gcc", "libc6-dev")
        library, control = drill.folder / "faults.so", drill.folder / "faults.control"
        source = Path(__file__).with_name("faults.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        control.write_bytes(bytes(_LAYOUT.size))
        file = os.open(control, os.O_RDWR)
        self._map = mmap.mmap(file, _LAYOUT.size)
        os.close(file)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAULTS_CONTROL": str(control),
            "FAULTS_FOLDER": str(folder),
            "TMPDIR": str(folder),
        }

    def fail(self, calls, files=ANY_FILE, error=errno.EIO, place=1, lasting=False):
        """From now on the `place`th matching call fails, or all from that one on."""
        self._map[:] = _LAYOUT.pack(0, calls, files, error, lasting, place, 0, 0)
        self._map[:4] = struct.pack("=I", 1)

    def count(self, calls, files=ANY_FILE):
        """From now on matching calls are counted, and none fails."""
        self.fail(calls, files, place=2**32 - 1)

    def end(self):
        """Nothing fails any more; how many calls matched, and how many of them failed."""
        self._map[:4] = struct.pack("=I", 0)
        return self.counts()

    def counts(self):
        *_, matched, failed = _LAYOUT.unpack(self._map[:])
        return matched, failed


def _has_compiler():
    return any(os.access(Path(folder, "cc"), os.X_OK) for folder in os.get_exec_path())
