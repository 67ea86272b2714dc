"""A process that runs a published client, and proxies of the locks in it.

    with ClientProcess(client, python) as process:
        lock = process.lock("key", server, lease_ttl_s=2)
        assert lock.acquire()

A call and its result are a line each. `begin` starts a call and returns its future, so that one
process can run many calls.
"""

import itertools
import json
import signal
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path

DRIVER = Path(__file__).with_name("drivers") / "client_process.py"
LOCK, SEMAPHORE = "DistributedLock", "DistributedSemaphore"
WAIT_SECONDS = 60
STAY_SECONDS = 0.01


class ClientError(Exception):
    """The client raised an exception; `names` holds its class and the base classes."""

    def __init__(self, names, message):
        super().__init__(f"{names[0]}: {message}")
        self.names = names
        self.message = message


class ClientProcess:
    """One process. `log` holds its stderr, mainly the client's log messages."""

    def __init__(self, client, python, within=lambda command: command):
        self.client = client
        self.command = within([str(python), str(DRIVER), client.form, client.module])
        self.log = []
        self._numbers = itertools.count(1)
        self._futures = {}

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, bufsize=1)
        self._readers = [threading.Thread(target=read, daemon=True)
                         for read in (self._read_results, self._read_log)]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *_):
        self.kill()
        for reader in self._readers:
            reader.join(5)
        for pipe in self.process.stdin, self.process.stdout, self.process.stderr:
            pipe.close()

    def _read_results(self):
        for line in self.process.stdout:
            result = json.loads(line)
            future = self._futures.pop(result["id"])
            if "error" in result:
                future.set_exception(ClientError(result["error"], result["message"]))
            else:
                future.set_result(result["value"])
        for future in list(self._futures.values()):
            future.set_exception(EOFError("the process ended: " + "".join(self.log)))

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)

    def begin(self, action, **arguments):
        number = next(self._numbers)
        future = self._futures[number] = Future()
        self.process.stdin.write(
            json.dumps({"id": number, "do": action, "with": arguments}) + "\n")
        return future

    def call(self, action, **arguments):
        return self.begin(action, **arguments).result(WAIT_SECONDS)

    def lock(self, key, *servers, **options):
        return RemoteLock(self, LOCK, options_of(key, servers, options))

    def semaphore(self, key, *servers, **options):
        return RemoteLock(self, SEMAPHORE, options_of(key, servers, options))

    def new(self, kind, **options):
        return RemoteObject(self, kind, options)

    def begin_rounds(self, entry_log, kind, key, server, workers, rounds, **options):
        """Starts `workers` that acquire and release `rounds` times each, and record it."""
        options = options_of(key, [server], {"acquire_timeout_s": WAIT_SECONDS, **options})
        return self.begin("rounds", kind=kind, options=options, workers=workers, count=rounds,
                          stay_s=STAY_SECONDS, entry_log=str(entry_log))

    def connect(self, server):
        return Connection(self, server)

    def name(self):
        return str(next(self._numbers))

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait(10)


def options_of(key, servers, options):
    return dict(options, key=key, servers=[(server.host, server.port) for server in servers])


class RemoteObject:
    """A proxy of an object in a ClientProcess."""

    def __init__(self, process, kind, options):
        self.process = process
        self.name = process.name()
        process.call("new", name=self.name, kind=kind, options=options)

    def begin(self, method, *arguments):
        return self.process.begin("method", name=self.name, method=method, arguments=arguments)

    def call(self, method, *arguments):
        return self.begin(method, *arguments).result(WAIT_SECONDS)


class RemoteLock(RemoteObject):
    """A proxy of a DistributedLock or DistributedSemaphore."""

    def acquire(self):
        return self.call("acquire")

    def release(self):
        return self.call("release")

    def enqueue(self):
        return self.call("enqueue")

    def wait(self, *timeout_s):
        return self.call("wait", *timeout_s)

    @property
    def token(self):
        return self.process.call("field", name=self.name, field="token")

    @property
    def lease(self):
        return self.process.call("field", name=self.name, field="lease")


class Connection:
    """A proxy of a connection, for the functions of the client's module."""

    def __init__(self, process, server):
        self.process = process
        self.name = process.name()
        process.call("connect", name=self.name, host=server.host, port=server.port)

    def begin(self, function, *arguments):
        return self.process.begin("function", name=self.name, function=function,
                                  arguments=arguments)

    def call(self, function, *arguments):
        return self.begin(function, *arguments).result(WAIT_SECONDS)
