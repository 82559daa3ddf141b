"""One file over HTTP(S): checked, resumable, never half-written under its final name.

Certificates are verified (the default of `requests`, never switched off). A broken transfer is tried
again with growing pauses; what arrived before it broke is kept and the rest is asked for with a range
request, if the server gave a validator (ETag or date) that proves the file is still the same.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import requests
from pydantic import Field

from v1builder.schema.config import Settings
from v1builder.schema.files import sha256_of

_CHUNK = 1 << 16
_LONGEST_PAUSE_S = 60.0
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_TRY_AGAIN = (
    "check the connection and the service, then run the same command again: "
    "it fetches only what is missing"
)
_CHANGED = (
    "the source has changed. To keep the old data, use the store that has it. To take the new, write "
    'the line   files."{name}".sha256 = "{sha256}"   into a file, fetch with --pins FILE (into a new '
    "folder, if this one has the old data), and see what is different with 'v1builder fetch --diff "
    "OLD NEW'"
)


class Transfer(Settings):
    """How to download.

    Attributes:
        parallel: downloads at once.
        attempts: how often one file is tried.
        backoff_s: pause before the second attempt; it doubles with each, with up to a half of jitter.
        connect_timeout_s: until a connection stands.
        read_timeout_s: between two pieces of an answer.
        give_up_after: files that fail in succession before the rest is not tried any more.
    """

    parallel: Annotated[int, Field(ge=1, le=4)] = 3
    attempts: Annotated[int, Field(ge=1)] = 5
    backoff_s: Annotated[float, Field(ge=0)] = 1.0
    connect_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    read_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    give_up_after: Annotated[int, Field(ge=1)] = 8


@dataclass(frozen=True)
class WantedFile:
    """A file to download.

    Attributes:
        name: path in the archive, with "/".
        url: where it is.
        sha256: that it must have, where known.
        size: in bytes, that it must have, where known.
        check: raises ValueError if the content is not what it should be.
        without: what to do if it cannot be had at all; empty if nothing.
    """

    name: str
    url: str
    sha256: str | None = None
    size: int | None = None
    check: Callable[[Path], object] | None = None
    without: str = ""


@dataclass(frozen=True)
class Arrived:
    """A complete file under its temporary name."""

    path: Path
    sha256: str
    size: int
    validator: str


class RefusedError(Exception):
    """The file cannot be had; another attempt would not help.

    Attributes:
        reason: one sentence.
        fix: what the user can do.
        no_service: whether the service rather than the file seems to be the trouble.
    """

    def __init__(self, reason: str, fix: str, no_service: bool = False):
        super().__init__(reason)
        self.reason, self.fix, self.no_service = reason, fix, no_service


class _BrokenError(Exception):
    """The transfer failed in a way that may pass; `pause` is what the server asked for, s."""

    def __init__(self, reason: str, pause: float = 0.0):
        super().__init__(reason)
        self.pause = pause


class StoppedError(Exception):
    """Somebody else asked to stop."""


def download(
    session: requests.Session,
    wanted: WantedFile,
    part: Path,
    transfer: Transfer,
    stop: threading.Event,
    advance: Callable[[int], None] = lambda _bytes: None,
) -> Arrived:
    """Bring a file to `part`, complete and synced to disk.

    Args:
        session: of one thread.
        wanted: the file.
        part: temporary path. What an earlier attempt left there is continued.
        transfer: limits.
        stop: ends the download at the next piece.
        advance: told the number of bytes present so far.

    Raises:
        RefusedError: with the reason of the last attempt.
        StoppedError: `stop` was set.
        OSError: the file system refused.
    """
    reason = ""
    for attempt in range(transfer.attempts):
        try:
            validator, resumed = _one_attempt(session, wanted, part, transfer, stop, advance)
            return _checked(wanted, part, validator, resumed)
        except _BrokenError as error:
            reason = str(error)
            pause = transfer.backoff_s * 2**attempt * random.uniform(1, 1.5)
            pause = min(max(pause, error.pause), _LONGEST_PAUSE_S)
        if attempt + 1 < transfer.attempts and stop.wait(pause):
            raise StoppedError
    times = "1 attempt" if transfer.attempts == 1 else f"{transfer.attempts} attempts"
    raise RefusedError(f"{reason} ({times})", _TRY_AGAIN, no_service=True)


def _one_attempt(
    session: requests.Session,
    wanted: WantedFile,
    part: Path,
    transfer: Transfer,
    stop: threading.Event,
    advance: Callable[[int], None],
) -> tuple[str, bool]:
    """Get the rest of the file; returns its validator and whether an earlier part was continued."""
    note = part.with_name(part.name + ".validator")
    begun = part.stat().st_size if part.is_file() else 0
    known = note.read_text(encoding="utf-8") if begun and note.is_file() else ""
    # Identity: lengths and ranges count the bytes that are stored.
    headers = {"Accept-Encoding": "identity"}
    if known:
        headers |= {"Range": f"bytes={begun}-", "If-Range": known}
    timeout = (transfer.connect_timeout_s, transfer.read_timeout_s)
    try:
        with session.get(wanted.url, headers=headers, stream=True, timeout=timeout) as answer:
            resumed = _resumes(answer, part, begun if known else 0)
            begun = begun if resumed else 0
            total = _total_bytes(answer, resumed)
            validator = _validator(answer)
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab" if resumed else "wb") as file:
                note.write_text(validator, encoding="utf-8")
                for piece in answer.iter_content(_CHUNK):
                    file.write(piece)
                    begun += len(piece)
                    advance(begun)
                    if stop.is_set():
                        raise StoppedError
                file.flush()
                os.fsync(file.fileno())
    except requests.RequestException as error:
        raise _BrokenError(_short(error)) from None
    if total is not None and begun != total:
        raise _BrokenError(f"the answer broke off after {begun} of {total} bytes")
    return validator, resumed


def _resumes(answer: requests.Response, part: Path, begun: int) -> bool:
    """Whether the answer continues a part of `begun` bytes; False: it begins anew."""
    status = answer.status_code
    asked = answer.history[0].url if answer.history else answer.url
    if asked.startswith("https:") and not answer.url.startswith("https:"):
        raise RefusedError(
            f"the server sends us on to an address without encryption, {answer.url}",
            "report it to the service; nothing was taken from there",
        )
    if status == 200:
        return False
    if status == 206 and begun:
        if answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
            return True
        raise _BrokenError("the server sent another range than the one asked for")
    if status == 416:  # the part is no shorter than the file: begin anew
        part.unlink(missing_ok=True)
        raise _BrokenError("the server has no such range of the file (HTTP 416)")
    if status in _TRANSIENT:
        raise _BrokenError(f"HTTP {status} {answer.reason}", _asked_pause(answer))
    raise RefusedError(
        f"HTTP {status} {answer.reason}",
        "the service does not offer this file: check the address, "
        "or look for a newer version of v1builder",
    )


def _total_bytes(answer: requests.Response, resumed: bool) -> int | None:
    """Length of the whole file, where the server says it."""
    if _is_encoded(answer):
        return None  # the length is that of what was sent, to which urllib3 2 holds the server
    if resumed:
        total = answer.headers["Content-Range"].rpartition("/")[2]
    else:
        total = answer.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None


def _is_encoded(answer: requests.Response) -> bool:
    """Whether the server compresses although it was asked not to."""
    return answer.headers.get("Content-Encoding", "identity") != "identity"


def _asked_pause(answer: requests.Response) -> float:
    try:
        return float(answer.headers.get("Retry-After", 0))
    except ValueError:  # a date: our own pause will do
        return 0.0


def _validator(answer: requests.Response) -> str:
    """A strong ETag, or the date; empty where the server gives neither, or counts other bytes."""
    if _is_encoded(answer):
        return ""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _checked(wanted: WantedFile, part: Path, validator: str, resumed: bool) -> Arrived:
    """Compare size, hash and content with what they must be; what is wrong is thrown away."""
    size, sha256 = part.stat().st_size, sha256_of(part)
    wrong = (wanted.sha256 is not None and sha256 != wanted.sha256) or (
        wanted.size is not None and size != wanted.size
    )
    if wrong:
        part.unlink()
        if resumed:  # two halves that do not fit: a whole one tells whether the source has changed
            raise _BrokenError("the parts of a resumed download do not fit together")
        pinned = f"pinned {wanted.sha256 or 'no hash'} ({wanted.size or '?'} bytes)"
        raise RefusedError(
            f"the file is not the one that is pinned: sha256 {sha256} ({size} bytes), {pinned}",
            _CHANGED.format(name=wanted.name, sha256=sha256),
        )
    if wanted.check is not None:
        try:
            wanted.check(part)
        except ValueError as error:
            part.unlink()
            raise _BrokenError(f"the answer is not what it should be: {error}") from None
    return Arrived(part, sha256, size, validator)


def _short(error: Exception) -> str:
    """The innermost cause, for a person."""
    if isinstance(error, requests.exceptions.ReadTimeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of the server is not valid: {error}"
    text = str(error)
    if "refused" in text:
        return "connection refused"
    if "resolve" in text or "getaddrinfo" in text:
        return "the name of the server is not known: no connection to the internet?"
    if "timed out" in text:
        return "the server stopped sending"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the answer broke off"
    return f"{type(error).__name__}: {text[:200]}"


def new_session() -> requests.Session:
    """A session that says who is asking; no retries of its own, certificates verified."""
    session = requests.Session()
    session.headers["User-Agent"] = "v1builder"
    return session


def today() -> str:
    """The day, UTC, as YYYY-MM-DD."""
    return time.strftime("%Y-%m-%d", time.gmtime())
