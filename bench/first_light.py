"""How long the way from a request to a guest is: the API's answer, RUNNING, and the guest's login prompt.

`make bench`: a cloud of one host, VMs one after the other.
"""

import shutil
import statistics
import time

import requests

from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.waiting import wait_for

VMS = 5


def measure(cloud: Cloud, name: str) -> dict[str, float]:
    """Seconds from the request for a VM to each step on its way; the VM is deleted afterwards."""
    steps: dict[str, float] = {}
    body = {"name": name, "image": first_vm.IMAGE, "specs": {"cpu": 1, "ram": "128MiB", "ssd": 1}}
    started = time.monotonic()
    answer = requests.post(f"{cloud.url}/v1/vm", json=body, timeout=10)
    answer.raise_for_status()
    steps["accepted"] = time.monotonic() - started
    url = f"{cloud.url}/v1/vm/{answer.json()['uuid']}"
    wait_for("RUNNING", lambda: requests.get(url, timeout=10).json()["status"] == "RUNNING", 60, interval_s=0.02)
    steps["RUNNING"] = time.monotonic() - started
    wait_for("a login prompt", lambda: "login:" in first_vm.ucloud(cloud, "vm", "log", name), 60, interval_s=0.1)
    steps["login prompt"] = time.monotonic() - started
    deleted = time.monotonic()
    requests.delete(url, timeout=10).raise_for_status()
    wait_for("gone", lambda: requests.get(url, timeout=10).status_code == 404, 60, interval_s=0.02)
    steps["(deleted)"] = time.monotonic() - deleted
    return steps


def main() -> None:
    """Print the median and the longest of each step."""
    cloud = Cloud("bench", Shape())
    try:
        cloud.up()
        image = first_vm.build_image()
        shutil.copyfile(image, cloud.upload_directory("admin") / image.name)
        first_vm.ucloud(cloud, "image", "create", "--name", first_vm.IMAGE, "--file", image.name, "--wait")
        runs = [measure(cloud, f"bench-{number}") for number in range(VMS)]
    finally:
        cloud.down()
    print(f"{'seconds, ' + str(VMS) + ' VMs':20} median   longest")
    for step in runs[0]:
        values = [run[step] for run in runs]
        print(f"{step:20} {statistics.median(values):6.3f}   {max(values):7.3f}")


if __name__ == "__main__":
    main()
