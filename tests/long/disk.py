"""A small file system that can be filled and freed; it takes the right to mount."""

import errno
import os
import subprocess


def may_mount():
    """Whether this process may mount file systems."""
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    )


class SmallDisk:
    """A tmpfs of so many megabytes."""

    def __init__(self, drill, name, megabytes, owner=None):
        self.folder = drill.folder / name
        self.folder.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "rolecall-drill", self.folder],
            check=True,
        )
        drill.stack.callback(subprocess.run, ["umount", "--lazy", self.folder], check=False)
        if owner:
            os.chown(self.folder, *owner)
        self.folder.chmod(0o700)
        self.filler = self.folder / "filler"

    def fill(self):
        """Takes what is left, to the last byte, for as long as it is called."""
        file = os.open(self.filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for block in (1 << 16, 1 << 12, 1):
                while True:
                    try:
                        os.write(file, bytes(block))
                    except OSError as error:
                        if error.errno != errno.ENOSPC:
                            raise
                        break
        finally:
            os.close(file)

    def free(self):
        self.filler.unlink(missing_ok=True)

    def used(self):
        """Megabytes in use."""
        facts = os.statvfs(self.folder)
        return (facts.f_blocks - facts.f_bfree) * facts.f_frsize / 2**20
