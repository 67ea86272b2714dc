"""The published client packages under test, and the features of each."""

from dataclasses import dataclass
from itertools import product

from lib.python_environment import Package

ASYNC, SYNC = FORMS = "async", "sync"


@dataclass(frozen=True)
class Client:
    """One form of a package: for asyncio or for threads."""

    package: Package
    form: str

    def __str__(self):
        return f"{self.package}-{self.form}"

    @property
    def module(self):
        return self.package.modules[FORMS.index(self.form)]

    def has(self, feature):
        return feature in self.package.features


TWO_PHASE = frozenset({"two_phase"})
SEMAPHORES = TWO_PHASE | {"semaphore", "stats", "auth", "tls"}
SIGNALS = SEMAPHORES | {"signals"}
ERRORS = SEMAPHORES | {"errors", "fence"}

PACKAGES = (
    Package("dflockd", "0.4.1", ("dflockd.client", "dflockd.sync_client")),
    Package("dflockd", "0.5.0", ("dflockd.client", "dflockd.sync_client"), TWO_PHASE),
    Package("dflockd-client", "1.0.0",
            ("dflockd_client.client", "dflockd_client.sync_client"), TWO_PHASE),
    Package("dflockd-client", "1.9.0",
            ("dflockd_client.client", "dflockd_client.sync_client"), SIGNALS),
    Package("dflockd-client", "2.1.1",
            ("dflockd_client._async", "dflockd_client._sync"), ERRORS),
)
CLIENTS = tuple(Client(package, form) for package, form in product(PACKAGES, FORMS))


def clients_with(feature):
    return [client for client in CLIENTS if client.has(feature)]
