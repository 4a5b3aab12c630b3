"""Makes a file of all keys, in a process of its own: requests need the processor meanwhile.

Keys are read in parts, each in its own short transaction. What changes meanwhile is read again by
whoever reads all changes since the revision at which this began.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from collections import Counter
from pathlib import Path

import msgspec
from msgspec import Struct
from sqlalchemy import func, select

from xrouter.control.catalog import repository
from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.publish.keys import GOOD, records
from xrouter.domain.errors import XRouterError
from xrouter.domain.secret import Secret
from xrouter.stores import plain
from xrouter.stores.key_file import KeyFileInfo, KeyFileWriter

PART = 5000
UNFINISHED = ".new"
_KEY_BYTES, _NAME_BYTES = 32, 8
_POLITE = 10
_FAILED = 1


class Order(Struct, frozen=True, kw_only=True):
    """What to make. url: of the database. name: of the file; without its end until it is adopted.

    key: for the file alone. pepper_id: keys of another one are left out. is_urgent: others on the
    machine may be slowed down.
    """

    url: Secret
    folder: str
    name: str
    key: Secret
    pepper_id: str
    is_urgent: bool = False


class Pressed(Struct, frozen=True, kw_only=True):
    """What was made. revision: all changes above it are to be read beside the file.

    rows: of the table, the revoked ones with them; last: the highest number of one, 0 for none.
    count: good keys. foreign: keys of another master key. unreadable: keys that make no sense.
    """

    info: KeyFileInfo
    revision: int
    rows: int
    last: int
    count: int
    foreign: int
    unreadable: int


class _Failure(Struct, frozen=True):
    error: str


def order(db: Database, folder: Path, pepper_id: str, *, is_urgent: bool = False) -> Order:
    """For a new file with a name of its own."""
    return Order(
        url=Secret(db.url.render_as_string(hide_password=False)),
        folder=str(folder),
        name=f"keys-{secrets.token_hex(_NAME_BYTES)}.sealed",
        key=Secret(secrets.token_hex(_KEY_BYTES)),
        pepper_id=pepper_id,
        is_urgent=is_urgent,
    )


async def press(given: Order) -> Pressed:
    """Make the file in this process. Raises DatabaseError, OSError."""
    db = Database(given.url.reveal())
    try:
        writer = _writer(given)
        async with db.read() as session:
            revision = await repository.revision(session)
            query = select(func.count(), func.coalesce(func.max(KeyRow.id), 0))
            rows, last = (await session.execute(query)).one()
        seen = await _copy(db, writer, given.pepper_id, last)
        bits, table = writer.finish()
    finally:
        await db.close()
    return Pressed(
        info=KeyFileInfo(name=given.name, key=given.key, bits=bits, table=table),
        revision=revision,
        rows=rows,
        last=last,
        count=seen["good"],
        foreign=seen["foreign"],
        unreadable=seen["unreadable"],
    )


def _writer(given: Order) -> KeyFileWriter:
    """Of the new file; what others have left unfinished is removed."""
    folder = Path(given.folder)
    for left in folder.glob(f"keys-*{UNFINISHED}"):
        left.unlink(missing_ok=True)
    return KeyFileWriter(folder / (given.name + UNFINISHED), given.key)


async def _copy(db: Database, writer: KeyFileWriter, pepper_id: str, last: int) -> Counter[str]:
    """All keys up to a row. How many there are of each kind."""
    seen: Counter[str] = Counter()
    after: int | None = None
    query = GOOD.where(KeyRow.id <= last).order_by(KeyRow.id).limit(PART)
    while True:
        async with db.read() as session:
            part = query if after is None else query.where(KeyRow.id > after)
            found = (await session.execute(part)).all()
        if not found:
            return seen
        for row in found:
            if row.pepper_id != pepper_id:
                seen["foreign"] += 1
                continue
            try:
                made = records(row)
            except ValueError:
                seen["unreadable"] += 1
                continue
            seen["good"] += 1
            for record in made:
                writer.add(record)
        after = found[-1].id


async def press_apart(given: Order) -> Pressed:
    """Make the file in a process of its own, which dies with the caller's interest.

    Raises DatabaseError, also when that process fails.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        told, _ = await child.communicate(msgspec.json.encode(given, enc_hook=plain.written))
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    try:
        return msgspec.json.decode(told, type=Pressed, dec_hook=plain.read)
    except msgspec.MsgspecError:
        raise DatabaseError(_why(told, child.returncode)) from None


def _why(told: bytes, code: int | None) -> str:
    try:
        return f"The file of keys was not made: {msgspec.json.decode(told, type=_Failure).error}"
    except msgspec.MsgspecError:
        return f"The file of keys was not made: its process ended with {code}."


def main() -> int:
    """Read an order from the standard input, write what was made to the standard output."""
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Order, dec_hook=plain.read)
    if not given.is_urgent:
        os.nice(_POLITE)
    made: Pressed | _Failure
    try:
        made = asyncio.run(press(given))
    except (XRouterError, OSError) as error:
        made = _Failure(str(error) or type(error).__name__)
    except KeyboardInterrupt:
        return _FAILED
    sys.stdout.buffer.write(msgspec.json.encode(made, enc_hook=plain.written))
    return _FAILED if isinstance(made, _Failure) else 0


if __name__ == "__main__":
    sys.exit(main())
