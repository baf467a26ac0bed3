"""Download from a server on this machine: only complete, checked files appear."""

from __future__ import annotations

import hashlib
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clebsch.data.datasets.download import download, extract
from clebsch.errors import DataError

CONTENT = b"3\nan honest file\n" * 100


class Handler(BaseHTTPRequestHandler):
    """/good is complete, /short breaks off, everything else is not found."""

    def do_GET(self) -> None:
        self.send_response(404 if self.path not in ("/good", "/short") else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/good" else CONTENT[:70])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "checksum",
    [
        None,
        f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
        f"git:{hashlib.sha1(b'blob %d' % len(CONTENT) + bytes(1) + CONTENT).hexdigest()}",
    ],
)
def test_download(server: str, tmp_path: Path, checksum: str | None):
    target = tmp_path / "new" / "folder" / "file.xyz"
    assert download(f"{server}/good", target, checksum) == target
    assert target.read_bytes() == CONTENT
    assert files(tmp_path) == ["file.xyz"]


@pytest.mark.parametrize(
    ("path", "checksum", "message"),
    [
        ("/good", f"sha256:{'0' * 64}", "not the published one: expected sha256:000"),
        ("/good", f"git:{'0' * 40}", "not the published one: expected git:000"),
        ("/short", None, "broke off after 70 of 1700 bytes|cannot be downloaded .IncompleteRead"),
        ("/missing", None, "cannot be downloaded .*404.*put it at .*file.xyz"),
    ],
)
def test_nothing_is_left_of_a_failed_download(server: str, tmp_path: Path, path: str, checksum: str, message: str):
    target = tmp_path / "file.xyz"
    with pytest.raises(DataError, match=message):
        download(f"{server}{path}", target, checksum)
    assert files(tmp_path) == []
    target.write_text("older")
    with pytest.raises(DataError):
        download(f"{server}{path}", target, checksum)
    assert target.read_text() == "older"
    assert files(tmp_path) == ["file.xyz"]


def test_no_network(tmp_path: Path):
    with pytest.raises(DataError, match="no network, fetch the file elsewhere"):
        download("http://127.0.0.1:1/file", tmp_path / "file.xyz")
    with pytest.raises(DataError, match="Only http and https"):
        download("file:///etc/hostname", tmp_path / "file.xyz")


def test_extract(tmp_path: Path):
    (tmp_path / "source" / "rmd17").mkdir(parents=True)
    (tmp_path / "source" / "rmd17" / "a.npz").write_bytes(CONTENT)
    (tmp_path / "source" / "rmd17" / "ba.npz").write_bytes(b"other")
    archive = tmp_path / "archive.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        tar.add(tmp_path / "source" / "rmd17", "rmd17")
    target = tmp_path / "target" / "x.npz"
    extract(archive, {"a.npz": target})
    assert target.read_bytes() == CONTENT
    assert files(tmp_path / "target") == ["x.npz"]
    with pytest.raises(DataError, match=r"holds no c\.npz"):
        extract(archive, {"c.npz": tmp_path / "target" / "c.npz"})
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be unpacked"):
        extract(archive, {"a.npz": target})
