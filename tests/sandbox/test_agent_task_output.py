"""What a container wrote before it ended is read, however slowly; what it left cannot hold it for ever."""

from __future__ import annotations

import asyncio
import os

import pytest

from copilot_sandbox.agent import task_output
from copilot_sandbox.agent.task_output import Output


def test_all_that_was_written_is_read_although_reading_takes_longer_than_stragglers_get(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_output, "STRAGGLERS", 0.05)
    lines: list[bytes] = []

    async def slowly(line: bytes) -> None:
        await asyncio.sleep(0.01)
        lines.append(line)

    async def read() -> None:
        reader, writer = os.pipe()
        output = Output(reader, slowly)
        os.write(writer, b"".join(b"%d\n" % number for number in range(50)) + b"end")
        os.close(writer)
        await output.finish()

    asyncio.run(read())
    assert lines == [*(b"%d" % number for number in range(50)), b"end"]


def test_a_process_that_is_left_does_not_hold_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_output, "STRAGGLERS", 0.05)
    lines: list[bytes] = []

    async def write(line: bytes) -> None:
        lines.append(line)

    async def read() -> None:
        reader, writer = os.pipe()
        output = Output(reader, write)
        os.write(writer, b"whole\nhalf")
        await asyncio.wait_for(output.finish(), 30)
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"later\n")
        os.close(writer)

    asyncio.run(read())
    assert lines == [b"whole", b"half"]


def test_a_process_that_is_left_and_writes_on_does_not_hold_its_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_output, "STRAGGLERS", 0.05)
    count = 0

    async def write(line: bytes) -> None:
        nonlocal count
        count += len(line)
        await asyncio.sleep(0)

    async def read() -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        output = Output(reader, write)

        async def write_on() -> None:
            while True:
                try:
                    os.write(writer, b"y\n" * 10000)
                except (BlockingIOError, BrokenPipeError):
                    await asyncio.sleep(0.001)

        writing = asyncio.create_task(write_on())
        await asyncio.wait_for(output.finish(), 30)
        writing.cancel()
        os.close(writer)

    asyncio.run(read())
    assert count > 0
