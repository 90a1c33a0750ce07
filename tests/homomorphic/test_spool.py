"""Uploads that wait on disk come back as they were, whatever came between; a full disk is named."""

from __future__ import annotations

import gc
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import ClientFault, ProtocolError
from secagg.homomorphic.spool import Spool
from tests.homomorphic.sessions import Sessions, terms


@given(st.dictionaries(st.integers(0, 2**32 - 1), st.binary(max_size=300), max_size=8), st.randoms())
def test_every_item_comes_back_in_any_order_and_as_often_as_it_is_asked_for(items, random) -> None:
    spool = Spool()
    for number, content in items.items():
        spool.put(number, memoryview(content))
    order = [*items, *items]
    random.shuffle(order)
    for number in order:
        assert spool.get(number) == items[number]
    spool.close()


def test_a_number_that_nothing_was_put_under_is_a_key_error() -> None:
    spool = Spool()
    spool.put(1, b"one")
    with pytest.raises(KeyError):
        spool.get(2)


def test_the_file_has_no_name_and_no_one_else_may_read_it() -> None:
    spool = Spool()
    spool.put(0, b"ciphertext")
    assert os.fstat(spool._file.fileno()).st_nlink == 0
    assert os.fstat(spool._file.fileno()).st_mode & 0o077 == 0


def test_a_spool_that_is_forgotten_closes_its_file() -> None:
    """Otherwise each attempt that is given up would keep a file and its space, and warn."""
    spool = Spool()
    file = spool._file
    del spool
    gc.collect()
    assert file.closed


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_is_named_and_what_is_there_stays_whole() -> None:
    spool = Spool()
    spool.put(0, bytes(range(100)))
    with room_for(150), pytest.raises(ProtocolError) as refused:
        spool.put(1, bytes(100))
    assert refused.value.code == "spool-failed"
    assert "TMPDIR" in refused.value.hint
    spool.put(2, b"later")
    assert spool.get(0) == bytes(range(100))
    assert spool.get(2) == b"later"


def test_a_file_that_was_cut_off_is_named() -> None:
    spool = Spool()
    spool.put(0, b"ciphertext")
    spool._file.truncate(4)
    with pytest.raises(ProtocolError, match="spool-failed"):
        spool.get(0)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ProtocolError, match="spool-failed"):
        Spool()


def test_a_client_whose_upload_found_no_room_is_left_out_and_not_blamed() -> None:
    sessions = Sessions(6, terms(recompute=True))
    sessions.run_to("upload")
    replies = sessions.ask()
    unlucky = sessions.uploaders[0]
    with room_for(1), pytest.raises(ClientFault) as refused:
        sessions.server.receive(unlucky, replies[unlucky])
    assert (refused.value.code, refused.value.client) == ("spool-failed", unlucky)
    for name in sessions.ids:
        if name != unlucky:
            sessions.server.receive(name, replies[name])
    sessions.server.advance()
    sessions.run()
    assert sessions.server.faults == {}
    assert sessions.server.sum().survivors == tuple(name for name in sessions.ids if name != unlucky)


def test_after_the_last_fetch_the_server_keeps_no_upload_on_disk() -> None:
    sessions = Sessions(4, terms(recompute=True))
    sessions.run_to("fetch")
    spool = sessions.server._spool
    assert spool is not None
    sessions.run_to("open")
    assert spool._file.closed
