# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test how much space is reserved for the next record of a session."""

from __future__ import annotations

import random
import string
import typing as t

import pytest

from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.next_record import (
    LINEAGE_LENGTH,
    PASSED_LENGTH,
    after_login,
    next_record,
    possible_growth,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import Record
from ansible_collections.wuying.workspace.plugins.module_utils._model.session import Session

LETTERS = string.ascii_letters + string.digits
ANY = LETTERS + 'ä😀\\"'


def text(generator: random.Random, most: int, letters: str = LETTERS) -> str:
    """Return a random text of 1 to ``most`` characters, often of the greatest length."""
    length = most if generator.random() < 0.3 else generator.randint(1, most)
    return "".join(generator.choice(letters) for _character in range(length))


def record_before(generator: random.Random, session: Session) -> Record | None:
    """Return the record of a session that may be new, or have any lineage and perhaps a keep-alive token."""
    if generator.random() < 0.3:
        return None
    keep_alive = KeepAlive(text(generator, 1000), 1.0, 2.0) if generator.random() < 0.5 else None
    return Record(
        session,
        text(generator, 2000),
        1790000000.25,
        1790000900.25,
        text(generator, 64),
        lineage=("f" * 32,) * generator.randint(0, LINEAGE_LENGTH),
        passed=("f" * 32,) * generator.randint(0, PASSED_LENGTH),
        uuid=text(generator, 256, ANY),
        keep_alive=keep_alive,
    )


@pytest.mark.parametrize("seed", range(200))
def test_the_next_record_is_not_longer_than_the_reserved_space(seed: int) -> None:
    generator = random.Random(seed)
    names = [text(generator, 256, ANY) for _part in range(4)]
    session = Session("https://" + text(generator, 253), *t.cast("tuple[str, str, str, str]", names))
    before = record_before(generator, session)
    logs_in = generator.random() < 0.5
    uuid = text(generator, 256, ANY) if generator.random() < 0.5 else None
    spent = None if logs_in else text(generator, 2000)
    longest = max(768, *(2 * len(token or "") for token in (before and before.login_token, spent)))
    record = next_record(before, session, spent, text(generator, longest), 1790000000.25, 31622400, text(generator, 64))
    if logs_in:
        stored = before and before.keep_alive
        token = text(generator, 768 if stored is None else max(768, 2 * len(stored.token)))
        record = after_login(record, text(generator, 256), token, accepted=True)
    record = record._replace(uuid=uuid or record.uuid)
    reserved = (0 if before is None else len(before.dump())) + possible_growth(
        before, session, uuid, spent, may_log_in=logs_in
    )
    assert len(record.dump()) <= reserved
