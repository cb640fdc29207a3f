"""``vram lab`` as it runs: on this machine only, behind a token that it makes up."""

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from lab_browser import vram_lab


def test_it_listens_on_this_machine_behind_a_token(tmp_path: Path) -> None:
    with vram_lab(tmp_path) as (url, token):
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=2)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{url}/api/contents")
        with urllib.request.urlopen(f"{url}/api/contents?token={token}") as reply:
            assert "00_start_here.ipynb" in reply.read().decode()
        assert len(token) >= 32
