"""A small lock server that can cheat, to test the judge of the witness and of dflockd-bench.

    cheating_server.py CHEAT

Serves `l`, `rl`, `e`, `re`, `w`, `n`, `r`, `own`, `auth`, `show` and `revoke`; prints its port, and
ends with its input. Each connection is an administrator's. It uses about every tenth chance to
cheat:

    none     never
    double   grants a lock that is held to a second writer
    reader   grants a lock that a writer holds to a reader
    writer   grants a lock that readers hold to a writer
    pass     lets a reader pass the waiting clients
    unshared replies `error` to `rl` and `re`, always
    lifo     serves the last of the queue first
    fence    gives a fence a second time
    forget   drops a waiter and never replies
    early    ends a wait before its time
    expire   ends a lease before its time
    late     accepts a release after the lease
    keep     accepts a revocation and does nothing
    renewed  grants the key after a revocation, but still renews and releases the old grant
    refuse   refuses the revocation of a grant, and ends it
    mistake  revokes the grant of another key instead
    twice    accepts the revocation of a grant that has ended
    reissue  gives a revoked fence to the next grant
    resume   lets a client wait for its revoked grant
    loses    ends a grant before its client waits for it
    moved    accepts `own` of a grant that has ended
"""

import asyncio
import collections
import json
import random
import sys

LEASE_SHARE = {"expire": 0.3, "late": 4}


class Claim:
    """A client's request for a key: queued, then held by `token`."""

    def __init__(self, key, shared, lease):
        self.key = key
        self.shared = shared
        self.lease = lease
        self.token = None
        self.owner = None  # a connection
        self.reply = None  # a future, while the client waits
        self.timer = None


class Keys:
    def __init__(self, cheat):
        self.cheat = cheat
        self.chance = random.Random(1)
        self.fence = 1 << 60
        self.holders = collections.defaultdict(set)
        self.queue = collections.defaultdict(collections.deque)
        self.held = {}  # by token
        self.revoked = set()
        self.reissued = None  # a fence to give again

    def cheats(self, how, share=0.1):
        return self.cheat == how and self.chance.random() < share

    def grant(self, claim):
        if not self.cheats("fence"):
            self.fence += 1
        fence, self.reissued = self.reissued or f"{self.fence:016x}", None
        claim.token = f"{fence}{self.chance.getrandbits(64):016x}"
        self.holders[claim.key].add(claim)
        self.held[claim.token] = claim
        self.start_lease(claim)
        if claim.reply and not claim.reply.done():
            claim.reply.set_result(True)

    def start_lease(self, claim):
        if claim.timer:
            claim.timer.cancel()
        share = LEASE_SHARE.get(self.cheat, 1)
        claim.timer = asyncio.get_running_loop().call_later(claim.lease * share, self.end, claim)

    def fits(self, claim):
        return all(claim.shared and holder.shared for holder in self.holders[claim.key])

    def admits_wrongly(self, claim):
        """Whether the claim is granted although a holder excludes it, or others wait."""
        if self.fits(claim):
            return claim.shared and self.cheats("pass")
        beside_readers = any(holder.shared for holder in self.holders[claim.key])
        return self.cheats("reader" if claim.shared else "writer" if beside_readers else "double")

    def acquire_or_queue(self, claim):
        """Grants the claim at once, or enqueues it."""
        if self.fits(claim) and not self.queue[claim.key] or self.admits_wrongly(claim):
            self.grant(claim)
        else:
            self.queue[claim.key].append(claim)

    def end(self, claim):
        """Ends the hold or wait; the next claims get the key."""
        if claim.timer:
            claim.timer.cancel()
        self.held.pop(claim.token, None)
        queue = self.queue[claim.key]
        self.holders[claim.key].discard(claim)
        if claim in queue:
            queue.remove(claim)
        elif queue and self.cheats("forget"):
            queue.popleft()
        while queue:
            following = queue[-1 if self.cheats("lifo") else 0]
            if not self.fits(following):
                break
            queue.remove(following)
            self.grant(following)

    def show(self, key):
        if not self.holders[key]:
            return "error"
        holders = [{"fence": claim.token[:16], "mode": "shared" if claim.shared else "exclusive"}
                   for claim in self.holders[key]]
        return "ok " + json.dumps({"holders": holders, "waiters": []}, separators=(",", ":"))

    def revoke(self, key, fence):
        claim = next((claim for claim in self.holders[key] if claim.token[:16] == fence), None)
        if not claim:
            return "ok" if fence in self.revoked and self.cheats("twice", 1) else "error"
        if self.cheats("mistake"):
            others = [claim for holders in self.holders.values() for claim in holders
                      if claim.key != key]
            claim = self.chance.choice(others or [claim])
        if self.cheats("keep"):
            return "ok"
        self.revoked.add(fence)
        if self.cheats("reissue", 0.5):
            self.reissued = fence
        self.end(claim)
        if self.cheats("renewed", 0.5):
            self.held[claim.token] = claim
        return "error" if self.cheats("refuse") else "ok"


class Connection:
    def __init__(self, keys, reader, writer):
        self.keys = keys
        self.reader = reader
        self.writer = writer
        self.lines = asyncio.Queue()
        self.ended = asyncio.get_running_loop().create_future()
        self.claims = []

    async def read(self):
        """Puts lines into the queue until the client closes."""
        try:
            while line := await self.reader.readline():
                self.lines.put_nowait(line.decode().strip())
        except ConnectionError:
            pass
        self.lines.put_nowait(None)
        self.ended.set_result(True)

    async def wait(self, claim, seconds):
        """Returns the reply to `l` or `w`, or None if the client closes."""
        if not claim.token:
            claim.reply = asyncio.get_running_loop().create_future()
            if self.keys.cheats("early", 0.5):
                seconds /= 40
            await asyncio.wait([claim.reply, self.ended], timeout=seconds,
                               return_when=asyncio.FIRST_COMPLETED)
            if self.ended.done():
                return None
            if not claim.reply.done():
                self.keys.end(claim)
                return "timeout"
        if self.keys.cheats("loses"):
            self.keys.end(claim)
        if claim.token not in self.keys.held and not self.keys.cheats("resume", 1):
            return "error_lease_expired"
        self.keys.start_lease(claim)
        return f"ok {claim.token} {claim.lease}"

    async def serve(self, command, key, arg):
        if command in ("rl", "re") and self.keys.cheat == "unshared":
            return "error"
        if command in ("l", "e", "rl", "re"):
            claim = Claim(key, command[0] == "r", int(arg[-1]))
            claim.owner = self
            self.claims.append(claim)
            self.keys.acquire_or_queue(claim)
            if command[-1] == "l":
                return await self.wait(claim, int(arg[0]))
            return f"acquired {claim.token} {claim.lease}" if claim.token else "queued"
        if command == "w":
            return await self.wait(self.claims[-1], int(arg[0]))
        if command == "auth":
            return "ok"
        if command == "show":
            return self.keys.show(key)
        if command == "revoke":
            return self.keys.revoke(key, arg[1])
        claim = self.keys.held.get(arg[-1] if command == "own" else arg[0])
        if not claim:
            return "ok" if command == "own" and self.keys.cheats("moved", 1) else "error"
        if command == "own":
            claim.owner.claims.remove(claim)
            claim.owner = self
            self.claims.append(claim)
            return "ok"
        if command == "n":
            self.keys.start_lease(claim)
            return f"ok {claim.lease}"
        self.keys.end(claim)
        return "ok"

    async def request(self):
        """Returns the next command, key and fields of the arg; None at the end."""
        lines = []
        while len(lines) < 3:
            line = await self.lines.get()
            if line is None:
                return None
            lines.append(line)
        return lines[0], lines[1], lines[2].split()

    async def run(self):
        reading = asyncio.ensure_future(self.read())
        while request := await self.request():
            reply = await self.serve(*request)
            if reply is None:
                break
            self.writer.write(reply.encode() + b"\n")
        await reading
        for claim in self.claims:
            self.keys.end(claim)
        self.writer.close()


async def main():
    keys = Keys(sys.argv[1])
    server = await asyncio.start_server(
        lambda reader, writer: Connection(keys, reader, writer).run(), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
