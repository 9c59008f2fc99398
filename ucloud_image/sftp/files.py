"""What a user can do by SFTP: read, write, list, rename and remove files of the own folder, and nothing else.

Every operation of asyncssh's server that gets a path is answered here: its own would look at the whole file system.
"""

import asyncio
import errno
import os
import posixpath
import stat
import time
from collections.abc import AsyncIterator, Callable
from typing import cast

import asyncssh
from asyncssh.constants import (
    FILEXFER_TYPE_DIRECTORY,
    FILEXFER_TYPE_REGULAR,
    FXF_APPEND,
    FXF_CREAT,
    FXF_EXCL,
    FXF_READ,
    FXF_TRUNC,
    FXF_WRITE,
)

from ucloud_image.folders import FileFacts, UploadFolders, Writer
from ucloud_image.sftp.limits import Pace

_MOST_OPEN = 32
_MOST_READ_BYTES = 4 * 1024 * 1024
_OPEN_FLAGS = ((FXF_CREAT, os.O_CREAT), (FXF_EXCL, os.O_EXCL), (FXF_TRUNC, os.O_TRUNC))


class _Reader:
    """A file that is open to be read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, size_bytes: int) -> bytes:
        return os.pread(self._descriptor, size_bytes, offset)

    def status(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    def leave(self) -> None:
        os.close(self._descriptor)


_Open = _Reader | Writer


class Files(asyncssh.SFTPServer):
    """One session. `has_left` says whether the client is gone: what it has open then is not whole."""

    def __init__(
        self,
        channel: asyncssh.SSHServerChannel[bytes],
        folders: UploadFolders,
        pace: Pace,
        has_left: Callable[[], bool],
        touch: Callable[[int], None],
    ) -> None:
        """`touch` is called with the bytes of each request: the client is not idle."""
        super().__init__(channel)
        self._owner = str(channel.get_extra_info("username"))
        self._folders = folders
        self._pace = pace
        self._has_left = has_left
        self._touch = touch
        self._open: set[_Open] = set()

    # --- paths --------------------------------------------------------------------------------------------------------

    def _name(self, path: bytes) -> str:
        """The name that a path means, empty for the folder itself. As in a chroot, `..` of the root is the root."""
        self._touch(0)
        try:
            return posixpath.normpath("/" + path.decode()).lstrip("/")
        except UnicodeDecodeError as error:
            raise FileNotFoundError(errno.ENOENT, "no file is called so") from error

    def map_path(self, path: bytes) -> bytes:
        """Nothing here is known by a path of the machine."""
        raise _never(path)

    def reverse_map_path(self, path: bytes) -> bytes:
        """See `map_path`."""
        raise _never(path)

    def realpath(self, path: bytes) -> bytes:
        """The path without dots."""
        return b"/" + self._name(path).encode()

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Of a file or of the folder."""
        name = self._name(path)
        return _attributes(self._folders.look(self._owner, name)) if name else _folder_attributes()

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """The same: there are no links."""
        return self.stat(path)

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """The files of the folder."""
        if self._name(path):
            raise NotADirectoryError(errno.ENOTDIR, "there are no folders here")
        yield asyncssh.SFTPName(b".", attrs=_folder_attributes())
        for file in await asyncio.to_thread(self._folders.files, self._owner):
            yield asyncssh.SFTPName(file.name.encode(), attrs=_attributes(file))

    def format_longname(self, name: asyncssh.SFTPName) -> None:
        """What `ls -l` shows."""
        attrs = name.attrs
        mode = stat.filemode(attrs.permissions or 0)
        at = time.strftime("%b %d %Y", time.gmtime(attrs.mtime or 0))
        filename = cast(bytes, name.filename).decode()
        name.longname = f"{mode} 1 {self._owner:8} {self._owner:8} {attrs.size or 0:>12} {at} {filename}".encode()

    def format_user(self, uid: int | None) -> str:
        """All files are the user's own."""
        return self._owner

    def format_group(self, gid: int | None) -> str:
        """See `format_user`."""
        return self._owner

    # --- files --------------------------------------------------------------------------------------------------------

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Open a file; permissions and times that a client wants are not kept."""
        name = self._name(path)
        if len(self._open) >= _MOST_OPEN:
            raise OSError(errno.EMFILE, f"{_MOST_OPEN} files are open, which is the most")
        if not name:
            raise IsADirectoryError(errno.EISDIR, "this is the folder")
        opened: _Open
        if pflags & (FXF_WRITE | FXF_APPEND | FXF_CREAT | FXF_TRUNC):
            flags = sum(ours for theirs, ours in _OPEN_FLAGS if pflags & theirs)
            opened = await asyncio.to_thread(self._folders.open_to_write, self._owner, name, flags)
        elif pflags & FXF_READ:
            opened = _Reader(await asyncio.to_thread(self._folders.open_to_read, self._owner, name))
        else:
            raise OSError(errno.EINVAL, "say whether to read or to write")
        self._open.add(opened)
        return opened

    async def close(self, file_obj: object) -> None:
        """Close a file: what was written is whole if it was the client who said so."""
        opened = cast(_Open, file_obj)
        self._open.discard(opened)
        if isinstance(opened, Writer) and not self._has_left():
            self._touch(0)
            opened.finish()
        else:
            opened.leave()

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """What is there."""
        data = cast(_Open, file_obj).read(offset, min(size, _MOST_READ_BYTES))
        await self._pass(len(data))
        return data

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Write all of it. Into the page cache, which takes no longer than to hand it to a thread."""
        if not isinstance(file_obj, Writer):
            raise PermissionError(errno.EBADF, "the file was opened to be read")
        file_obj.write(offset, data)
        await self._pass(len(data))
        return len(data)

    async def _pass(self, size_bytes: int) -> None:
        self._touch(size_bytes)
        if wait_s := self._pace.take(self._owner, size_bytes):
            await asyncio.sleep(wait_s)

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        """Of an open file."""
        self._touch(0)
        status = cast(_Open, file_obj).status()
        return _attributes_of(status.st_size, status.st_mtime, stat.S_IMODE(status.st_mode))

    def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Permissions, owners and times are nobody's to set, and asking for them is no error. A size is, see below."""
        self._folders.look(self._owner, self._name(path))
        if attrs.size is not None:
            raise asyncssh.SFTPOpUnsupported("open the file to change its size")

    def lsetstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """See `setstat`."""
        self.setstat(path, attrs)

    def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        """Only the size of a file that is open to be written can be set."""
        self._touch(0)
        if attrs.size is not None:
            if not isinstance(file_obj, Writer):
                raise PermissionError(errno.EBADF, "the file was opened to be read")
            file_obj.truncate(attrs.size)

    async def fsync(self, file_obj: object) -> None:
        """Have a file on the disk."""
        self._touch(0)
        if isinstance(file_obj, Writer):
            await asyncio.to_thread(file_obj.sync)

    async def remove(self, path: bytes) -> None:
        """Remove a file."""
        await asyncio.to_thread(self._folders.remove, self._owner, self._name(path))

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename a file to a name that is free."""
        await self._rename(oldpath, newpath, replace=False)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename a file; one that is called so is replaced."""
        await self._rename(oldpath, newpath, replace=True)

    async def _rename(self, oldpath: bytes, newpath: bytes, replace: bool) -> None:
        old, new = self._name(oldpath), self._name(newpath)
        await asyncio.to_thread(self._folders.rename, self._owner, old, new, replace)

    def exit(self) -> None:
        """The session is over; asyncssh has closed what was open."""
        for opened in tuple(self._open):
            opened.leave()

    # --- what there is not --------------------------------------------------------------------------------------------

    def open56(self, path: bytes, desired_access: int, flags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Not spoken: version 3 is what all clients speak."""
        raise asyncssh.SFTPOpUnsupported("only version 3 is spoken")

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Refused."""
        raise asyncssh.SFTPPermissionDenied("there are no folders here")

    def rmdir(self, path: bytes) -> None:
        """Refused."""
        raise asyncssh.SFTPPermissionDenied("there are no folders here")

    def readlink(self, path: bytes) -> bytes:
        """Refused."""
        raise asyncssh.SFTPPermissionDenied("there are no links here")

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """Refused."""
        raise asyncssh.SFTPPermissionDenied("there are no links here")

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        """Refused."""
        raise asyncssh.SFTPPermissionDenied("there are no links here")

    def lock(self, file_obj: object, offset: int, length: int, flags: int) -> None:
        """Refused."""
        raise asyncssh.SFTPOpUnsupported("there are no locks here")

    def unlock(self, file_obj: object, offset: int, length: int) -> None:
        """Refused."""
        raise asyncssh.SFTPOpUnsupported("there are no locks here")

    def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        """Refused: how full the machine is, is not the users' to know."""
        raise asyncssh.SFTPOpUnsupported("not told")

    def fstatvfs(self, file_obj: object) -> asyncssh.SFTPVFSAttrs:
        """See `statvfs`."""
        raise asyncssh.SFTPOpUnsupported("not told")


def _never(path: bytes) -> asyncssh.SFTPError:
    return asyncssh.SFTPPermissionDenied(f"{path.decode(errors='replace')} is not looked at")


def _attributes(file: FileFacts) -> asyncssh.SFTPAttrs:
    return _attributes_of(file.size_bytes, file.modified_at_s, 0o600 | (0 if file.is_whole else stat.S_ISVTX))


def _attributes_of(size_bytes: int, modified_at_s: float, mode: int) -> asyncssh.SFTPAttrs:
    at_s = int(modified_at_s)
    return asyncssh.SFTPAttrs(
        type=FILEXFER_TYPE_REGULAR,
        size=size_bytes,
        uid=0,
        gid=0,
        permissions=stat.S_IFREG | mode,
        atime=at_s,
        mtime=at_s,
        nlink=1,
    )


def _folder_attributes() -> asyncssh.SFTPAttrs:
    return asyncssh.SFTPAttrs(
        type=FILEXFER_TYPE_DIRECTORY,
        size=0,
        uid=0,
        gid=0,
        permissions=stat.S_IFDIR | 0o700,
        atime=0,
        mtime=0,
        nlink=1,
    )
