"""Rows of trials under way at a URL that fsspec knows, for workers that share no folder.

Whatever is behind the URL may raise what it likes: here it becomes an OSError, and who saves or takes up goes
on without a row.
"""

import contextlib
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from hpo.errors import MissingDependency, UsageError
from trials.files import whole
from trials.names import hint

Found = TypeVar("Found")

_OWN = re.compile(r"/[^/]+-[0-9a-f]{8}$")
_COMMON = ("file", "s3", "gs", "abfs", "hdfs", "sftp", "memory")


def place_of(url: str, study: str, is_fresh: bool) -> str:
    """A folder of a study's own below a URL: what another study left there is nothing to it.

    One that has its folder keeps it when it is taken up, and has another when it is begun again.

    >>> place = place_of("s3://bucket/rows/", "digits", is_fresh=True)
    >>> place[:-8], place_of(place, "digits", is_fresh=False) == place
    ('s3://bucket/rows/digits-', True)
    >>> place_of(place, "digits", is_fresh=True)[:-8] == place[:-8]
    True
    """
    url = url.rstrip("/")
    own = _OWN.search(url)
    if own is not None and own[0][1:-9] == study:
        if not is_fresh:
            return url
        url = url[: own.start()]
    return f"{url}/{study}-{secrets.token_hex(4)}"


class Storage:
    """Files at a URL.

    Raises:
        UsageError: a protocol that nobody knows, or a place that cannot be.
        MissingDependency: the protocol needs a package that is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # It takes a while to import, and most studies have no use for it.
        import fsspec.core  # pyright: ignore[reportMissingTypeStubs]

        try:
            found: tuple[Any, str] = cast(Any, fsspec.core).url_to_fs(url)
        except ImportError as error:
            raise MissingDependency(f"save_to = {url!r}: {error}") from error
        except ValueError as error:
            protocol = url.partition("://")[0]
            if "Protocol not known" not in str(error):
                raise UsageError(f"save_to = {url!r}: {error}") from error
            raise UsageError(
                f"save_to = {url!r}: protocol {protocol!r} is not known{hint(protocol, _COMMON)}"
            ) from error
        # A package of the user's choice runs here too: what it raises may be anything.
        except Exception as error:
            raise UsageError(f"save_to = {url!r}: {type(error).__name__}: {error}") from error
        self._files, self._root = found
        own = _OWN.search(url)
        if own is not None and not self._root.endswith(own[0]):
            # All of it is removed when the study ends: it must be nobody else's.
            raise UsageError(
                f"save_to = {url!r} names {self._root!r}, which is no folder of this study's own: what "
                "follows '::' is to be a URL, and no path may have these letters"
            )
        protocol = self._files.protocol
        # On a disk a file can appear whole; elsewhere most stores see to that.
        self._is_local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def check(self) -> None:
        """Find out whether something can be written, and read again.

        Raises:
            UsageError: it cannot; the message says what was raised.
        """
        name = f"checked-{secrets.token_hex(4)}"
        try:
            self.write(name, b"hpo")
            found = self.read(name)
            self.remove(name)
        except OSError as error:
            raise UsageError(f"save_to = {self.url!r} cannot be used: {error}") from error
        if found != b"hpo":
            raise UsageError(f"save_to = {self.url!r} cannot be used: what was written there cannot be read")
        if self._is_local:
            # Nothing is there before the first row.
            with contextlib.suppress(OSError):
                Path(self._root).rmdir()

    def write(self, name: str, data: bytes) -> None:
        """Have a file of this name hold this.

        Raises:
            OSError: it cannot be written.
        """

        def write() -> None:
            path = self._path(name)
            if self._is_local:
                with whole(Path(path)) as file:
                    file.write(data)
            else:
                self._files.makedirs(self._root, exist_ok=True)
                self._files.pipe_file(path, data)

        self._tried(write)

    def read(self, name: str) -> bytes | None:
        """What a file of this name holds; None where there is none.

        Raises:
            OSError: it cannot be read.
        """

        def read() -> bytes | None:
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

        return self._tried(read)

    def remove(self, name: str) -> None:
        """Have no file of this name.

        Raises:
            OSError: it cannot be removed.
        """

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(self._path(name))

        self._tried(remove)

    def clear(self) -> None:
        """Have nothing there; of a study's own folder.

        Raises:
            OSError: something cannot be removed.
        """
        assert _OWN.search(self._root), f"{self._root} is no study's own"

        def clear() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._files.rm(self._root, recursive=True)

        self._tried(clear)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _tried(self, act: Callable[[], Found]) -> Found:
        try:
            return act()
        except OSError:
            raise
        # A package of the user's choice runs here, and the network behind it.
        except Exception as error:
            raise OSError(f"{self.url}: {type(error).__name__}: {error}") from error
