"""The original server, of PyPI's `dflockd` 0.5.0, in its own Python environment."""

from .command_server import CommandServer
from .python_environment import Package, python_of, python_or_skip
from .server import unused_address

PACKAGE = Package("dflockd", "0.5.0", ("dflockd.client", "dflockd.sync_client"))


def original_python():
    return python_of(PACKAGE)


def original_python_or_skip():
    return python_or_skip(PACKAGE)


class OriginalServer(CommandServer):
    """One running original server, by default on an unused loopback address."""

    def __init__(self, python, *args, host=None):
        super().__init__(host or unused_address())
        self.command = [str(python), "-m", "dflockd.server", "--host", self.host,
                        "--port", str(self.port), *args]
