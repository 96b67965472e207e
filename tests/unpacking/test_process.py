import asyncio
import os
from pathlib import Path
from zipfile import ZIP_STORED

import pytest

from keyservice.unpacking.errand import Errand
from keyservice.unpacking.frames import Frame, Unreadable
from keyservice.unpacking.process import ChildLimits, Unpacker, spooled
from tests.lab.processes import ProcessRef
from tests.unpacking.archives import archive_of
from tests.unpacking.workbooks import packed, parts_of, row, sheet, workbook

MANY = workbook([["key"], *([f"KEY-{number:06d}"] for number in range(60_000))])


def children() -> list[ProcessRef]:
    me = ProcessRef.of(os.getpid())
    assert me is not None
    return [child for child in me.children if b"keyservice.unpacking.child" in child.command_line]


async def frames_of(content: bytes, unpacker: Unpacker | None = None, *, kind: str = "xlsx") -> list[Frame]:
    unpacker = unpacker or Unpacker()
    with spooled() as spool:
        spool.write(content)
        limits = unpacker.limits
        errand = Errand(
            spool.seal(),
            kind,
            memory_bytes_max=limits.memory_bytes_max,
            processor_seconds_max=limits.processor_seconds_max,
            unpacked_bytes_max=2**40,
        )
        return [frame async for frame in unpacker.frames(errand)]


async def refusal(content: bytes, unpacker: Unpacker | None = None) -> str:
    with pytest.raises(Unreadable) as caught:
        await frames_of(content, unpacker)
    assert not children()
    return caught.value.reason


async def test_the_entries_of_an_archive_come_with_their_content() -> None:
    files = {f"{number}.lic": os.urandom(3_000) for number in range(100)}
    frames = await frames_of(archive_of(files), kind="zip")
    entries = [entry for frame in frames for entry in frame.entries]
    assert {entry.name: entry.content for entry in entries} == files
    assert (frames[-1].is_end, frames[-1].count) == (True, 100)
    assert not children()


async def test_a_file_that_needs_too_much_memory_is_refused() -> None:
    strings = [f"<t>{os.urandom(300).hex()}</t>" for _ in range(150_000)]
    parts = parts_of({"S": sheet([row(1, [('t="s"', "<v>0</v>")])])}, strings=strings)
    content = packed(parts, method=ZIP_STORED)
    assert await refusal(content, Unpacker(ChildLimits(memory_bytes_max=100 * 1024 * 1024))) == "too-much-memory"
    assert (await frames_of(content))[0].rows


@pytest.mark.timeout(30)
@pytest.mark.parametrize("endless", ["<", '<row r="1" a="', "<!--", "<?x ", "<![CDATA["])
async def test_a_tag_that_never_ends_is_refused_at_once(endless: str) -> None:
    parts = {**parts_of({"S": sheet([])}), "xl/worksheets/sheet1.xml": endless + "x" * 60_000_000}
    assert await refusal(packed(parts, method=ZIP_STORED)) == "broken-workbook"


async def test_a_file_that_takes_too_long_is_refused() -> None:
    content = workbook([["key"], *([f"KEY-{number:06d}"] for number in range(200_000))])
    assert await refusal(content, Unpacker(ChildLimits(processor_seconds_max=1))) == "too-much-time"


async def test_a_child_that_says_nothing_is_ended() -> None:
    assert await refusal(MANY, Unpacker(ChildLimits(silent_seconds=0.001))) == "too-much-time"


async def test_a_child_that_is_killed_is_one_refusal() -> None:
    unpacker = Unpacker()
    with spooled() as spool:
        spool.write(MANY)
        frames = unpacker.frames(Errand(spool.seal(), "xlsx"))
        await anext(frames)
        (child,) = children()
        child.kill()
        with pytest.raises(Unreadable) as caught:
            async for _ in frames:
                pass
    assert caught.value.reason == "too-much-memory"
    assert not children()


async def test_whoever_stops_listening_ends_the_child() -> None:
    with spooled() as spool:
        spool.write(MANY)
        frames = Unpacker().frames(Errand(spool.seal(), "xlsx"))
        await anext(frames)
        assert len(children()) == 1
        await frames.aclose()
    assert not children()


async def test_so_many_children_run_at_once_and_the_others_wait() -> None:
    unpacker = Unpacker(at_once=1)
    with spooled() as spool:
        spool.write(MANY)
        number = spool.seal()
        first, second = unpacker.frames(Errand(number, "xlsx")), unpacker.frames(Errand(number, "xlsx"))
        await anext(first)
        waiting = asyncio.ensure_future(anext(second))
        for _ in range(5):
            await anext(first)
        assert (len(children()), waiting.done()) == (1, False)
        await first.aclose()
        assert (await waiting).rows
        await second.aclose()


async def test_the_child_has_nothing_of_its_parents_and_little_of_the_machine() -> None:
    os.environ["KEYSERVICE_DATABASE_URL"] = "postgresql://secret"
    try:
        with spooled() as spool:
            spool.write(MANY)
            frames = Unpacker().frames(Errand(spool.seal(), "xlsx", processor_seconds_max=7))
            await anext(frames)
            (child,) = children()
            place = Path(f"/proc/{child.pid}")
            assert b"secret" not in (place / "environ").read_bytes()
            opened = {str(one.readlink()) for one in (place / "fd").iterdir()}
            limits = (place / "limits").read_text()
            await frames.aclose()
    finally:
        del os.environ["KEYSERVICE_DATABASE_URL"]
    assert sum(one.startswith("socket:") for one in opened) <= 2
    assert {one for one in opened if not one.startswith(("pipe:", "socket:", "/dev/null"))} == {
        "/memfd:keyservice-upload (deleted)"
    }
    told = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert (told["Max cpu time"], told["Max core file size"], told["Max file size"]) == ("7", "0", "0")
    assert int(told["Max address space"]) == ChildLimits().memory_bytes_max


def test_a_spool_is_in_memory_and_cannot_be_changed_once_it_is_sealed() -> None:
    with spooled() as spool:
        spool.write(b"KEY-1")
        number = spool.seal()
        assert str(Path(f"/proc/self/fd/{number}").readlink()).startswith("/memfd:")
        assert os.pread(number, 100, 0) == b"KEY-1"
        for change in (lambda: os.pwrite(number, b"X", 0), lambda: os.ftruncate(number, 0), lambda: spool.write(b"X")):
            with pytest.raises(PermissionError):
                change()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
