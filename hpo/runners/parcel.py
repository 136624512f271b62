"""A study's folder as lines of text, and back: how it comes home from a cluster.

`python -m hpo.runners.parcel FOLDER` prints it. Nothing but what a command prints can be had from a head over
HTTP, so the folder is packed, compressed and spelled in letters, with a digest of all of it.
"""

import base64
import contextlib
import hashlib
import io
import os
import shutil
import sys
import zipfile
from collections.abc import Generator
from pathlib import Path

from hpo.errors import RunnerError

_BEGIN, _END, _LINE = "-----hpo parcel-----", "-----end of parcel", 3 * 2**14  # bytes a line


def pack(folder: Path) -> str:
    """The folder as lines.

    A study that is being searched may be packed too: what a file has by then is taken, and one that goes
    meanwhile is left out.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as parcel:
        for path in sorted(folder.rglob("*")):
            # What begins with a dot is being written, or another process's.
            if not path.name.startswith(".") and path.is_file():
                with contextlib.suppress(FileNotFoundError):  # a row that was tidied meanwhile
                    parcel.writestr(path.relative_to(folder).as_posix(), path.read_bytes())
    data = buffer.getvalue()
    lines = [base64.b64encode(data[at : at + _LINE]).decode() for at in range(0, len(data), _LINE)]
    return "\n".join([_BEGIN, *lines, f"{_END} {hashlib.sha256(data).hexdigest()}-----", ""])


@contextlib.contextmanager
def unpacked(text: str, folder: Path) -> Generator[Path]:
    """The files that these lines are, beside the folder; at the end they take its place.

    Raises:
        RunnerError: they are none, or not whole.
    """
    _, begun, rest = text.partition(f"{_BEGIN}\n")
    body, ended, tail = rest.partition(_END)
    if not begun or not ended:
        raise RunnerError("the study did not arrive whole: fetch it again")
    data = base64.b64decode("".join(body.split()))
    if hashlib.sha256(data).hexdigest() != tail.partition("-----")[0].strip():
        raise RunnerError("the study did not arrive whole, its digest is another: fetch it again")
    fresh, before = (folder.with_name(f".{folder.name}.{os.getpid()}{end}") for end in ("", ".before"))
    try:
        fresh.mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(data)) as parcel:
            parcel.extractall(fresh)
        yield fresh
        if folder.exists():
            folder.rename(before)
        fresh.rename(folder)
    finally:
        if before.exists() and not folder.exists():
            before.rename(folder)
        for path in (fresh, before):
            shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    """Print the folder that was named."""
    folder = Path(sys.argv[1])
    if not (folder / "journal.jsonl").is_file():
        known = sorted(path.parent.name for path in folder.parent.glob("*/journal.jsonl"))
        sys.stdout.write(f"hpo: no study {folder} on the head; there: {', '.join(known) or 'none'}\n")
        sys.exit(2)
    sys.stdout.write(pack(folder))


if __name__ == "__main__":
    main()
