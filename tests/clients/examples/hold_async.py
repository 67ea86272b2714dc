import asyncio
from dflockd.client import DistributedLock

async def main():
    async with DistributedLock("foo", acquire_timeout_s=10, lease_ttl_s=20) as lock:
        print(f"acquired key={lock.key} token={lock.token} lease={lock.lease}")
        await asyncio.sleep(45)  # lease renews automatically
        print("done critical section")

asyncio.run(main())
