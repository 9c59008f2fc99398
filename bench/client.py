"""The admin of a cloud on this machine, who asks its API for things and waits for them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import requests

from bench import records
from common import keys
from devcloud.cloud import Cloud
from devcloud.people import ADMIN
from devcloud.waiting import wait_for

_DEADLINE_S = 120.0


class Client:
    """The admin, logged in, over one connection."""

    def __init__(self, cloud: Cloud) -> None:
        self._url = cloud.url
        self._http = requests.Session()
        self._http.headers.update(cloud.headers())

    def create(self, kind: str, body: Mapping[str, object]) -> str:
        """Ask for something new; returns its uuid."""
        answer = self._http.post(f"{self._url}{kind.rstrip('/')}", json=body, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["uuid"])

    def wait(self, path: str, status: str) -> None:
        """Wait until what is at `path` is in a state."""

        def look() -> bool:
            return bool(self._http.get(self._url + path, timeout=30).json().get("status") == status)

        wait_for(f"{path} {status}", look, _DEADLINE_S)

    def delete(self, path: str) -> None:
        """Have something removed; returns when it is."""
        self._http.delete(self._url + path, timeout=30).raise_for_status()
        wait_for(f"{path} gone", lambda: self._http.get(self._url + path, timeout=30).status_code == 404, _DEADLINE_S)


def import_image(cloud: Cloud, client: Client, file: Path) -> str:
    """Upload an image and import it under the name records.IMAGE_NAME; returns its uuid."""
    uploads = cloud.upload_directory(ADMIN)
    uploads.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, uploads / file.name)
    uuid = client.create(keys.IMAGE, {"name": records.IMAGE_NAME, "file": file.name})
    client.wait(keys.image(uuid), "READY")
    return uuid
