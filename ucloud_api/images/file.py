"""The routes of files: what there is, as the image daemon found it, and uploads, as the upload server takes them.

Bytes are passed on as they come, and never held: a thread of this process is busy for as long as a request lasts.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from werkzeug.exceptions import ClientDisconnected, UnsupportedMediaType

from common import keys
from common.cache import Cached
from common.errors import InvalidValue
from common.schemas.file import UploadedFile
from common.schemas.image import UPLOAD_NAME_PATTERN
from ucloud_api import models
from ucloud_api.access.auth import current_caller
from ucloud_api.access.owner import owner_of_new
from ucloud_api.images import tus
from ucloud_api.images.upload_server import Upload, UploadDesk
from ucloud_api.problems import ApiProblem, FieldProblem, documented, not_found, unavailable
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer, page

_PATH = keys.FILE.rstrip("/")
_CHUNK_BYTES = 256 * 1024
_SILENT_S = 30.0
RAW = frozenset(("file.create", "file.append"))
"""The endpoints whose bodies are files."""

blueprint = APIBlueprint(
    "file",
    __name__,
    url_prefix=_PATH,
    abp_tags=[Tag(name="file", description="Uploaded files, which images are made from")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


@blueprint.post("", summary="Begin an upload", responses={201: models.Upload, **documented(403, 412, 415)})
def create() -> Response:
    """Begin an upload by tus 1.0; the body may be the file's beginning, or all of it.

    One that was cut off is gone on with if the digest is the same. The file takes the place of one of the same name,
    once it is whole.
    """
    state = current_state()
    _check_version()
    size_bytes = _header(tus.LENGTH, lambda text: tus.parse_number(text, 1), tus.LENGTH_ALLOWED)
    metadata = _header(tus.METADATA, tus.parse_metadata, tus.METADATA_ALLOWED)
    sha256 = _header(tus.DIGEST, tus.parse_digest, tus.DIGEST_ALLOWED)
    owner = owner_of_new(current_caller(), metadata.owner)
    path = _checked_path(owner, metadata.name)
    if state.store.get(keys.account(owner)) is None:
        raise not_found("user", owner)
    has_body = bool(request.content_type)
    if has_body:
        _check_media_type()
    desk = UploadDesk(state)
    upload = desk.begin(owner, path.name, size_bytes, sha256)
    if has_body and upload.offset_bytes == 0:
        with _slot(state):
            upload = desk.append(owner, path.name, 0, _chunks())
    location = f"{_PATH}/{owner}/{path.name}/upload"
    return _answer(path, upload, 201, {"Location": location})


@blueprint.get("/<owner>/<name>/upload", summary="Show an upload", responses={200: models.Upload, **documented(404)})
def show_upload(path: models.FilePath) -> Response:
    """How far an upload under way came: where to go on with it. HEAD will do."""
    _check_version()
    _check_owner(path)
    return _answer(path, UploadDesk(current_state()).look(path.owner, path.name), 200)


@blueprint.patch(
    "/<owner>/<name>/upload",
    summary="Go on with an upload",
    responses={204: {"description": "So much came."}, **documented(404, 412, 415)},
)
def append(path: models.FilePath) -> Response:
    """Send what comes next, or a part of it. What came before a connection broke is kept; the last to send counts."""
    state = current_state()
    _check_version()
    _check_owner(path)
    _check_media_type()
    offset_bytes = _header(tus.OFFSET, lambda text: tus.parse_number(text, 0), tus.OFFSET_ALLOWED)
    with _slot(state):
        upload = UploadDesk(state).append(path.owner, path.name, offset_bytes, _chunks())
    return Response(status=204, headers=_headers(upload))


@blueprint.delete(
    "/<owner>/<name>/upload",
    summary="Give an upload up",
    responses={204: {"description": "It is forgotten."}, **documented(404)},
)
def drop(path: models.FilePath) -> Response:
    """Forget an upload under way, with what came of it."""
    _check_version()
    _check_owner(path)
    UploadDesk(current_state()).drop(path.owner, path.name)
    return Response(status=204, headers={"Tus-Resumable": tus.VERSION})


@blueprint.get("", summary="List files", responses={200: models.FileList})
def list_files(query: models.FileQuery) -> Response:
    """The caller's files, in the order in which they were found; an admin's list has all."""
    state, caller = current_state(), current_caller()
    if query.owner and not caller.may_see(query.owner):
        return answer(models.FileList(items=(), next_cursor=None))
    owner = query.owner or (None if caller.is_admin else caller.user)
    entries = state.store.list(keys.files(owner) if owner else keys.FILE).entries
    records = {
        each.key: Cached(UploadedFile.read(each.key, each.value), each.create_revision, each.mod_revision)
        for each in entries
    }
    items, cursor = page(records, _resource, lambda _file: True, query.limit, query.cursor)
    return answer(models.FileList(items=items, next_cursor=cursor))


@blueprint.get("/<owner>/<name>", summary="Show a file", responses={200: models.File, **documented(404)})
def show(path: models.FilePath) -> Response:
    """One file."""
    _check_owner(path)
    entry = current_state().store.get(keys.file(path.owner, path.name))
    if entry is None:
        raise not_found("file", path.name)
    return answer(_resource(UploadedFile.read(entry.key, entry.value)))


@blueprint.delete(
    "/<owner>/<name>",
    summary="Delete a file",
    responses={204: {"description": "The file is gone, from the list in a moment."}, **documented(404)},
)
def delete(path: models.FilePath) -> Response:
    """Delete a file. Images that were made from it stay."""
    _check_owner(path)
    UploadDesk(current_state()).remove(path.owner, path.name)
    return Response(status=204)


def _resource(file: UploadedFile) -> models.File:
    return models.File(
        owner=file.owner, name=file.name, size_bytes=file.size_bytes, sha256=file.sha256, modified_at=file.modified_at
    )


def _answer(path: models.FilePath, upload: Upload, status: int, headers: Mapping[str, str] | None = None) -> Response:
    resource = models.Upload(owner=path.owner, name=path.name, **vars(upload))
    return answer(resource, status, {**_headers(upload), **(headers or {})})


def _headers(upload: Upload) -> dict[str, str]:
    headers = {
        "Tus-Resumable": tus.VERSION,
        tus.OFFSET: str(upload.offset_bytes),
        tus.LENGTH: str(upload.size_bytes),
        "Cache-Control": "no-store",
    }
    return {**headers, tus.DIGEST: tus.digest_header(upload.sha256)} if upload.sha256 else headers


def _check_owner(path: models.FilePath) -> None:
    """ApiProblem (404) for what is not the caller's to see."""
    if not current_caller().may_see(path.owner):
        raise not_found("file", path.name)


def _checked_path(owner: str, name: str) -> models.FilePath:
    """The path of a new file; ApiProblem (422) for a name that none can have."""
    try:
        return models.FilePath(owner=owner, name=name)
    except ValueError as error:
        allowed = f"a filename of the form {UPLOAD_NAME_PATTERN}"
        problem = FieldProblem(field=tus.METADATA, problem="is not of the allowed form", allowed=allowed)
        raise ApiProblem(422, "invalid-fields", "a file can't be called so", [problem]) from error


def _header(name: str, parse: Callable[[str | None], Any], allowed: str) -> Any:
    """What a header says; ApiProblem (422)."""
    try:
        return parse(request.headers.get(name))
    except InvalidValue as error:
        problem = FieldProblem(field=name, problem=str(error), allowed=allowed)
        raise ApiProblem(422, "invalid-fields", f"{name} {error}", [problem]) from error


def _check_version() -> None:
    """ApiProblem (412) for a client of another version of tus; one that names none is taken for ours."""
    if request.headers.get("Tus-Resumable", tus.VERSION) != tus.VERSION:
        headers = {"Tus-Version": tus.VERSION}
        raise ApiProblem(412, "other-tus-version", f"tus {tus.VERSION} is spoken here", headers=headers)


def _check_media_type() -> None:
    if request.mimetype != tus.MEDIA_TYPE:
        raise UnsupportedMediaType(f"The body must be {tus.MEDIA_TYPE}.")


@contextmanager
def _slot(state: State) -> Iterator[None]:
    """One of the uploads that this process has threads for; ApiProblem (503) when all are busy."""
    if not state.upload_slots.acquire(blocking=False):
        raise unavailable("too-many-uploads", "too many uploads are under way, try again soon")
    try:
        yield
    finally:
        state.upload_slots.release()


def _chunks() -> Iterator[bytes]:
    """The body as it comes; it ends where the client is gone, or says nothing for long: what came is worth keeping."""
    connection = request.environ.get("gunicorn.socket")
    if connection:
        connection.settimeout(_SILENT_S)
    request.max_content_length = tus.MOST_BYTES
    try:
        while chunk := request.stream.read(_CHUNK_BYTES):
            yield chunk
    except (ClientDisconnected, OSError):
        return
