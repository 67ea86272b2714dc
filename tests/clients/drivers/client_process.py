"""Runs one form of one published client, and executes requests from stdin.

    client_process.py async|sync MODULE

A request is a JSON line {"id": n, "do": action, "with": {arguments}}; its reply is
{"id": n, "value": v}, or {"id": n, "error": [class, its bases...], "message": text}.
Requests run concurrently: as tasks if the client is async, in threads if it is sync.
At the end of input the process ends at once, without releasing its locks.
"""

import asyncio
import importlib
import json
import os
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

FORM, MODULE = sys.argv[1:]
ASYNC = FORM == "async"
ENTER, LEAVE = ("__aenter__", "__aexit__") if ASYNC else ("__enter__", "__exit__")
LINE_BYTES = 2**20

client = importlib.import_module(MODULE)
threads = ThreadPoolExecutor(128)
objects = {}


async def call(function, *arguments, **options):
    """Calls a function of the client: awaited if async, in a new thread if sync."""
    if ASYNC:
        return await function(*arguments, **options)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, partial(function, *arguments, **options))


def by_length(key, servers):
    """A custom sharding strategy."""
    return len(key) % servers


def make(kind, options):
    if "servers" in options:
        options["servers"] = [tuple(server) for server in options["servers"]]
    if "sharding_strategy" in options:
        options["sharding_strategy"] = globals()[options["sharding_strategy"]]
    if "ssl_context" in options:  # the file with the authority to trust
        options["ssl_context"] = ssl.create_default_context(cafile=options["ssl_context"])
    return getattr(client, kind)(**options)


async def new(name, kind, options):
    """Makes an object of a class of the client, with the name `name`."""
    objects[name] = make(kind, options)


async def method(name, method, arguments):
    """Calls a method of an object; "enter" and "leave" are those of a with statement."""
    method = {"enter": ENTER, "leave": LEAVE}.get(method, method)
    value = await call(getattr(objects[name], method), *arguments)
    return True if value is objects[name] else value


async def field(name, field):
    return getattr(objects[name], field)


async def connect(name, host, port):
    """Opens a connection for the functions of the module, in the way of each generation."""
    if hasattr(client, "open_conn"):
        objects[name] = [await call(client.open_conn, host, port, ssl_context=None,
                                    connect_timeout_s=10)]
    elif ASYNC:
        objects[name] = await asyncio.open_connection(host, port, limit=LINE_BYTES)
    else:
        connection = socket.create_connection((host, port))
        objects[name] = connection, connection.makefile("r", encoding="utf-8")


async def function(name, function, arguments):
    """Calls a function of the module over the connection that `connect` opened."""
    return await call(getattr(client, function), *objects[name], *arguments)


async def package(function, arguments):
    """Calls a function of the package that does no input or output."""
    return getattr(importlib.import_module(MODULE.partition(".")[0]), function)(*arguments)


async def rounds(kind, options, workers, count, stay_s, entry_log):
    """Lets `workers` acquire and release `count` times each, and record both in a file.

    A line is one append, so the lines of all processes are in the order of the events.
    """
    file = os.open(entry_log, os.O_WRONLY | os.O_APPEND)

    async def work(worker):
        name = f"{os.getpid()}-{worker}"
        for _ in range(count):
            held = make(kind, dict(options))
            await call(getattr(held, ENTER))
            os.write(file, f"enter {name} {held.token}\n".encode())
            await asyncio.sleep(stay_s)
            os.write(file, f"leave {name} {held.token}\n".encode())
            await call(getattr(held, LEAVE), None, None, None)

    await asyncio.gather(*(work(worker) for worker in range(workers)))
    os.close(file)


async def execute(request):
    reply = {"id": request["id"]}
    try:
        reply["value"] = await globals()[request["do"]](**request["with"])
    except Exception as error:
        reply["error"] = [base.__name__ for base in type(error).__mro__]
        reply["message"] = str(error)
    print(json.dumps(reply), flush=True)


async def main():
    loop = asyncio.get_running_loop()
    tasks = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(execute(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    os._exit(0)


asyncio.run(main())
