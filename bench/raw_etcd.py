"""The transactions that create VMs, with nothing around them: as many a second as clients like ours write.

`python -m bench.raw_etcd ENDPOINT SECONDS THREADS` prints how many it wrote a second.
"""

import sys
import threading
import time
import uuid

from bench import records
from common import keys
from common.store import EtcdOptions, Put, Store, absent


def operations() -> list[Put]:
    """What the creation of a VM writes, below a root that no daemon looks at."""
    return [Put(f"/raw{key}", value) for key, value in records.wish(records.request(0, "raw"))]


def main() -> None:
    """Write until the time is over; the number goes to standard output."""
    endpoint, seconds, threads = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    store = Store(EtcdOptions((endpoint,)))
    template = operations()
    counts = [0] * threads
    store.get(keys.ROOT)  # connected
    began = time.monotonic()

    def write(number: int) -> None:
        while time.monotonic() - began < seconds:
            suffix = uuid.uuid4().hex
            puts = [Put(f"{put.key}/{suffix}", put.value) for put in template]
            store.commit([absent(puts[0].key)], puts)
            counts[number] += 1

    workers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(sum(counts) / (time.monotonic() - began))
    store.close()


if __name__ == "__main__":
    main()
