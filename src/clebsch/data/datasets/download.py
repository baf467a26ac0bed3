"""Download of public data files, checked before they appear under their name."""

from __future__ import annotations

import hashlib
import tarfile
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from clebsch.errors import DataError
from clebsch.files import replacing

CHUNK = 1 << 20
TIMEOUT = 60.0


def download(url: str, target: Path, checksum: str | None = None) -> Path:
    """Download ``url`` to ``target``, which appears only once it is complete and its checksum fits.

    Args:
        url: http(s) address.
        target: path of the file; its folder is made where missing.
        checksum: ``"sha256:<hex>"``, or ``"git:<hex>"`` for the id under which git stores the content.

    Raises:
        DataError: the server cannot be reached or breaks off, or the content has another checksum.
    """
    if not url.startswith(("http://", "https://")):
        raise DataError(f"Only http and https addresses are downloaded, got {url!r}.")

    request = urllib.request.Request(url, headers={"User-Agent": "clebsch"})
    try:
        with replacing(target) as file, urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            expected = response.headers.get("Content-Length")
            received = _copy(response, file)
            if expected is not None and received != int(expected):
                raise DataError(f"{url}: the connection broke off after {received} of {expected} bytes. Try again.")
            file.flush()
            verify(Path(file.name), checksum, url)
    except (OSError, HTTPException) as error:
        raise DataError(
            f"{url}: cannot be downloaded ({type(error).__name__}: {error}). Where this machine has no network, fetch "
            f"the file elsewhere and put it at {target}."
        ) from error
    return target


def verify(path: Path, checksum: str | None, name: str = "") -> None:
    """Raise DataError where the content of ``path`` does not have ``checksum``; ``None`` fits everything."""
    if checksum is None:
        return
    algorithm, _, expected = checksum.partition(":")
    digest = hashlib.sha256() if algorithm == "sha256" else hashlib.sha1(usedforsecurity=False)
    if algorithm == "git":
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise DataError(
            f"{name or path}: the content is not the published one: expected {checksum}, got "
            f"{algorithm}:{digest.hexdigest()}. Try again; if it stays so, the published file has changed."
        )


def extract(archive: Path, members: dict[str, Path]) -> None:
    """Extract files of a tar archive, each to its own path; ``members`` maps the end of a member's name to a path.

    Raises DataError where the archive is corrupt or lacks a member.
    """
    missing = dict(members)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                end = next((end for end in missing if f"/{member.name}".endswith(f"/{end}")), None)
                source = tar.extractfile(member) if end is not None and member.isfile() else None
                if end is not None and source is not None:
                    with replacing(missing.pop(end)) as file:
                        _copy(source, file)
                if not missing:
                    return
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}). Remove it and download it again.") from error
    raise DataError(f"{archive}: holds no {', '.join(missing)}. Remove it and download it again.")


def _copy(source, file: BinaryIO) -> int:
    received = 0
    for chunk in iter(lambda: source.read(CHUNK), b""):
        received += file.write(chunk)
    return received
