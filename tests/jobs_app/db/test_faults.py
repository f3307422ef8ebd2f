"""Faults of the database: how each is sorted, and the line that people read."""

import sqlite3
from typing import Any

import pytest
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, InternalError, OperationalError

from jobs_app.db.faults import Fault, fault_line, sort_fault


@pytest.mark.parametrize("number", [1213, 1205, 1020, 3101, 1206, 1412])
def test_a_lock_of_somebody_else_is_contention(number: int) -> None:
    assert sort_fault(OperationalError(number, "as the server says")) is Fault.CONTENTION


@pytest.mark.parametrize(
    "number",
    [
        *(2002, 2003, 2005, 2006, 2013, 2014, 2026, 2027, 2055, 1053, 1927, 1040, 4031, 3169, 1317, 1158),
        *(1290, 1836, 1047, 3100, 1180),
    ],
)
def test_a_connection_that_is_gone_or_not_to_the_writer_is_lost(number: int) -> None:
    assert sort_fault(OperationalError(number, "as the server says")) is Fault.LOST


@pytest.mark.parametrize(
    "error",
    [
        OperationalError(1021, "Disk full (/data); waiting for someone to free some space..."),
        OperationalError(1114, "The table 'jobs' is full"),
        OperationalError(1030, "Got error 28 'No space left on device' from storage engine InnoDB"),
        OperationalError(1026, "Error writing file 'x' (Errcode: 28)"),
        InternalError(3, 'Error writing file (Errcode: 28 "No space left on device")'),
        OperationalError("database or disk is full"),
        OperationalError("disk I/O error"),
    ],
    ids=str,
)
def test_a_server_without_room_is_never_the_fault_of_a_row(error: DatabaseError) -> None:
    assert sort_fault(error) is Fault.LOST


@pytest.mark.parametrize(
    "error",
    [
        *(DatabaseError(number, "quotes the row") for number in (1062, 1406, 3140, 4025, 1366, 1153, 2020)),
        IntegrityError("CHECK constraint failed: jobs_numbers"),
        DataError(1265, "Data truncated for column"),
    ],
    ids=str,
)
def test_what_a_row_holds_is_data(error: DatabaseError) -> None:
    assert sort_fault(error) is Fault.DATA


@pytest.mark.parametrize(
    "error", [InterfaceError(0, ""), InterfaceError("connection already closed"), InterfaceError(2013, "gone")]
)
def test_the_drivers_word_for_a_closed_connection_is_lost(error: InterfaceError) -> None:
    assert sort_fault(error) is Fault.LOST


def test_a_locked_sqlite_file_is_contention(tmp_path: Any) -> None:
    first, second = (sqlite3.connect(tmp_path / "file", timeout=0, isolation_level=None) for _ in range(2))
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as raised:
        second.execute("BEGIN IMMEDIATE")
    assert sort_fault(OperationalError(*raised.value.args)) is Fault.CONTENTION
    first.close()
    second.close()


def test_a_line_for_people_is_one_line() -> None:
    assert fault_line(OperationalError(2002, "Can't\n connect ")) == "Can't connect (error 2002)"
    assert fault_line(OperationalError("disk I/O error")) == "disk I/O error"
    assert fault_line(OperationalError()) == "no message"
