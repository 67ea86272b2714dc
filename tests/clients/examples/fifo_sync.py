import threading
import time
from dflockd.sync_client import DistributedLock

def worker(worker_id: int):
    with DistributedLock("foo", acquire_timeout_s=30) as lock:
        print(f"acquired  ({worker_id}): {lock.token}")
        time.sleep(1)
        print(f"released  ({worker_id}): {lock.token}")

threads = [threading.Thread(target=worker, args=(i,)) for i in range(9)]
for t in threads:
    t.start()
for t in threads:
    t.join()
