from dflockd.sync_client import DistributedLock

def my_strategy(key: str, num_servers: int) -> int:
    """Route all keys to the first server."""
    return 0

servers = [("server1", 6388), ("server2", 6388)]

with DistributedLock("my-key", servers=servers, sharding_strategy=my_strategy) as lock:
    print(f"token={lock.token}")
