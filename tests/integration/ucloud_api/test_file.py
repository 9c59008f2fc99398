"""Files by the API: uploads that are cut and gone on with, and what is listed. The upload server is a real one."""

import base64
import hashlib
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common import keys
from common.schemas.file import UploadedFile
from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client
from tests.integration.ucloud_api.world import World
from tests.integration.upload_server import SftpServer, SftpUsers

MIB = 1024 * 1024
CONTENT = os.urandom(3 * MIB + 17)
DIGEST = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
UPLOAD = "/file/ann/debian.qcow2/upload"
BYTES = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def users(store: Store, tmp_path: Path) -> SftpUsers:
    """A place for files."""
    return SftpUsers(store, tmp_path)


@pytest.fixture
def server(users: SftpUsers, etcd: EtcdCluster, tmp_path: Path) -> Iterator[SftpServer]:
    """The upload server."""
    server = SftpServer(users, tmp_path, etcd, image_upload_quota_gib=1)
    try:
        server.wait_healthy()
        wait_for("its place", lambda: users.store.list(keys.UPLOAD_SERVER).entries, 10)
        yield server
    finally:
        server.close()


@pytest.fixture
def ann(served: DaemonProcess, world: World) -> Client:
    """A user."""
    return Client.logged_in(served, world, "ann")


def _begin_headers(**more: str) -> dict[str, str]:
    name = base64.b64encode(b"debian.qcow2").decode()
    return {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(len(CONTENT)),
        "Upload-Metadata": f"filename {name}",
        "Repr-Digest": f"sha-256=:{DIGEST}:",
        **{key.replace("_", "-"): value for key, value in more.items()},
    }


def _append(client: Client, offset: int, data: bytes | Iterator[bytes], path: str = UPLOAD) -> Any:
    return client.patch(path, headers={**BYTES, "Upload-Offset": str(offset)}, data=data)


def test_a_file_comes_in_pieces(ann: Client, server: SftpServer, users: SftpUsers) -> None:
    begun = ann.post("/file", headers=_begin_headers())
    assert begun.status_code == 201, begun.text
    assert begun.headers["Location"] == f"/v1{UPLOAD}"
    assert begun.headers["Upload-Offset"] == "0"
    for start in range(0, len(CONTENT), MIB):
        piece = CONTENT[start : start + MIB]
        appended = _append(ann, start, piece)
        assert (appended.status_code, appended.headers["Upload-Offset"]) == (204, str(start + len(piece)))
        assert (users.folder("ann") / "debian.qcow2").exists() is (start + len(piece) == len(CONTENT))
    assert (users.folder("ann") / "debian.qcow2").read_bytes() == CONTENT
    assert ann.get(UPLOAD).status_code == 404
    assert server.metric("ucloud_upload_bytes_total", way="http") == len(CONTENT)


def test_a_file_comes_in_one_request(ann: Client, server: SftpServer, users: SftpUsers) -> None:
    done = ann.post("/file", headers={**_begin_headers(), **BYTES}, data=CONTENT)
    assert (done.status_code, done.json()["is_complete"]) == (201, True)
    assert (users.folder("ann") / "debian.qcow2").read_bytes() == CONTENT


def test_a_body_of_unknown_length_is_taken_up_to_the_length_that_was_announced(
    ann: Client, server: SftpServer, users: SftpUsers
) -> None:
    ann.post("/file", headers=_begin_headers())
    assert _append(ann, 0, iter([CONTENT[:MIB], CONTENT[MIB:]])).status_code == 204
    assert (users.folder("ann") / "debian.qcow2").read_bytes() == CONTENT
    ann.post("/file", headers=_begin_headers(Upload_Length="10", Repr_Digest="md5=:x:"))
    refused = _append(ann, 0, iter([b"x" * 11]))
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:ucloud:problem:too-many-bytes")


def test_an_upload_that_was_cut_is_gone_on_with(ann: Client, server: SftpServer, users: SftpUsers) -> None:
    ann.post("/file", headers=_begin_headers())
    port = int(ann.url.rpartition(":")[2].partition("/")[0])
    half = len(CONTENT) // 2
    with socket.create_connection(("::1", port)) as connection:
        head = (
            f"PATCH /v1{UPLOAD} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\nUpload-Offset: 0\r\n"
            f"Content-Type: {BYTES['Content-Type']}\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
        )
        connection.sendall(head.encode() + CONTENT[:half])
    offset = wait_for("what was sent", lambda: _offset(ann) == half and half, 15)
    assert ann.request("HEAD", UPLOAD).headers["Upload-Length"] == str(len(CONTENT))
    again = ann.post("/file", headers=_begin_headers())
    assert again.headers["Upload-Offset"] == str(half)
    assert _append(ann, offset - 1, CONTENT[half - 1 :]).status_code == 409
    assert _append(ann, offset, CONTENT[half:]).status_code == 204
    assert (users.folder("ann") / "debian.qcow2").read_bytes() == CONTENT


def test_an_upload_survives_a_crash_of_the_server(ann: Client, server: SftpServer, users: SftpUsers) -> None:
    ann.post("/file", headers=_begin_headers())
    _append(ann, 0, CONTENT[:MIB])
    server.kill()
    away = _append(ann, MIB, CONTENT[MIB:])
    assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
    server.start()
    server.wait_healthy()
    wait_for("its new token", lambda: _offset(ann) == MIB, 20)
    assert _append(ann, MIB, CONTENT[MIB:]).status_code == 204
    assert (users.folder("ann") / "debian.qcow2").read_bytes() == CONTENT


def test_another_content_begins_anew(ann: Client, server: SftpServer) -> None:
    ann.post("/file", headers=_begin_headers())
    _append(ann, 0, CONTENT[:MIB])
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    begun = ann.post("/file", headers=_begin_headers(Repr_Digest=f"sha-256=:{other}:"))
    assert begun.headers["Upload-Offset"] == "0"


def test_a_wrong_digest_leaves_nothing(ann: Client, server: SftpServer, users: SftpUsers) -> None:
    wrong = bytearray(CONTENT)
    wrong[1234] ^= 1
    refused = ann.post("/file", headers={**_begin_headers(), **BYTES}, data=bytes(wrong))
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:ucloud:problem:wrong-digest"
    assert ann.get(UPLOAD).status_code == 404
    assert not (users.folder("ann") / "debian.qcow2").exists()


def test_the_quota_holds_for_both_ways(ann: Client, server: SftpServer, users: SftpUsers) -> None:
    folder = users.folder("ann")
    folder.mkdir()
    with (folder / "old").open("wb") as old:
        old.truncate(1024 * MIB - MIB)
    refused = ann.post("/file", headers=_begin_headers())
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:ucloud:problem:over-upload-quota"
    assert "1 GiB" in refused.json()["detail"]
    assert ann.delete("/file/ann/old").status_code == 204
    assert ann.post("/file", headers={**_begin_headers(), **BYTES}, data=CONTENT).status_code == 201


def test_an_upload_is_given_up(ann: Client, server: SftpServer, users: SftpUsers) -> None:
    ann.post("/file", headers=_begin_headers())
    assert ann.delete(UPLOAD).status_code == 204
    assert ann.get(UPLOAD).status_code == 404
    assert ann.delete(UPLOAD).status_code == 404


WRONG: list[tuple[dict[str, str], int, str | None]] = [
    ({"Upload_Length": "x"}, 422, "Upload-Length"),
    ({"Upload_Length": "0"}, 422, "Upload-Length"),
    ({"Upload_Metadata": "filename"}, 422, "Upload-Metadata"),
    ({"Upload_Metadata": f"filename {base64.b64encode(b'../x').decode()}"}, 422, "Upload-Metadata"),
    ({"Upload_Metadata": f"filename {base64.b64encode(b'.part').decode()}"}, 422, "Upload-Metadata"),
    ({"Upload_Metadata": f"filename eA==,owner {base64.b64encode(b'bob').decode()}"}, 403, "owner"),
    ({"Repr_Digest": "sha-256=:YQ==:"}, 422, "Repr-Digest"),
    ({"Tus_Resumable": "0.2"}, 412, None),
    ({"Content_Type": "text/plain"}, 415, None),
]


def test_what_is_wrong_is_named_and_changes_nothing(ann: Client, server: SftpServer, users: SftpUsers) -> None:
    for change, status, field in WRONG:
        refused = ann.post("/file", headers=_begin_headers(**change))
        assert refused.status_code == status, (change, refused.text)
        if field:
            assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert not any(users.uploads.iterdir())


def test_nobody_reaches_the_files_of_another(
    ann: Client, server: SftpServer, served: DaemonProcess, world: World, users: SftpUsers
) -> None:
    bob = Client.logged_in(served, world, "bob")
    ann.post("/file", headers=_begin_headers())
    _append(ann, 0, CONTENT[:MIB])
    now = datetime.now(UTC)
    world.put(
        keys.file("ann", "done"),
        UploadedFile(owner="ann", name="done", size_bytes=1, sha256="ab", modified_at=now, stamp="x"),
    )
    (users.folder("ann") / "done").write_bytes(b"x")
    assert bob.get(UPLOAD).status_code == 404
    assert _append(bob, MIB, CONTENT[MIB:]).status_code == 404
    assert bob.delete(UPLOAD).status_code == 404
    assert bob.get("/file/ann/done").status_code == 404
    assert bob.delete("/file/ann/done").status_code == 404
    assert bob.get("/file").json()["items"] == bob.get("/file?owner=ann").json()["items"] == []
    assert [file["name"] for file in ann.get("/file").json()["items"]] == ["done"]
    assert ann.get("/file/ann/done").json()["sha256"] == "ab"
    admin = Client.logged_in(served, world, "root", is_admin=True)
    assert [file["name"] for file in admin.get("/file").json()["items"]] == ["done"]
    assert (users.folder("ann") / "done").exists()


def test_without_an_upload_server_it_is_said_so(ann: Client) -> None:
    refused = ann.post("/file", headers=_begin_headers())
    assert (refused.status_code, refused.json()["detail"]) == (503, "no upload server runs now")


def test_only_the_api_is_answered(server: SftpServer) -> None:
    stranger = Client(f"http://[::1]:{server.port}", "wrong")
    for method, path in (("GET", "/upload/ann/x"), ("POST", "/upload/ann/x"), ("DELETE", "/file/ann/x")):
        assert stranger.request(method, path).status_code == 401


def _offset(client: Client) -> int | None:
    reply = client.request("HEAD", UPLOAD)
    return int(reply.headers["Upload-Offset"]) if reply.ok else None
