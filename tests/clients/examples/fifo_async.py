import asyncio
from dflockd.client import DistributedLock

async def worker(worker_id: int):
    async with DistributedLock("foo", acquire_timeout_s=12) as lock:
        print(f"acquired  ({worker_id}): {lock.token}")
        await asyncio.sleep(1)
        print(f"released  ({worker_id}): {lock.token}")

async def main():
    tasks = [worker(i) for i in range(9)]
    await asyncio.gather(*tasks)

asyncio.run(main())
