# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the Redis store has the server do at once. Each script may be repeated after a lost reply, and each key of one has the same hash tag.

KEYS are the session's hash, its lock and its tombstone. Where a value is absent, an empty string stands for it.
"""

from __future__ import annotations

import typing as t

from .._model.exceptions import StoreError
from .replies import UnexpectedReply, check_fields

PREFIX = "wuying.workspace:"
"""How the names of all keys begin."""

ACQUIRE = """
-- owner, lease
local held = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] then return {0} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local stored = redis.call('HMGET', KEYS[1], 'record', 'note', 'fingerprint')
return {1, stored[1], stored[2], stored[3], redis.call('GET', KEYS[3])}
"""

RENEW = """
-- owner, lease
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
return 'done'
"""

RELEASE = """
-- owner
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 'done'
"""

WRITE_NOTE = """
-- owner, mark that was read, note, attempt, lifetime
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lost' end
local mark = redis.call('HGET', KEYS[1], 'fingerprint')
if mark and mark ~= ARGV[2] then return 'newer' end
redis.call('HSET', KEYS[1], 'note', ARGV[3], 'note_id', ARGV[4])
-- Who lacks a right that keeping needs is refused here, before the token is spent.
redis.call('HDEL', KEYS[1], '')
redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[5])))
return 'done'
"""

SAVE = """
-- tombstone that was read, mark that was read, its own mark, record, lifetime, attempt
local gone = redis.call('GET', KEYS[3])
if gone and gone ~= ARGV[1] then return 'gone' end
local mark = redis.call('HGET', KEYS[1], 'fingerprint')
if mark and mark ~= ARGV[2] and mark ~= ARGV[3] then return 'newer' end
redis.call('HSET', KEYS[1], 'record', ARGV[4], 'fingerprint', ARGV[3])
if redis.call('HGET', KEYS[1], 'note_id') == ARGV[6] then redis.call('HDEL', KEYS[1], 'note', 'note_id') end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 'done'
"""

SAVE_FAILURE = """
-- note, attempt
if redis.call('HGET', KEYS[1], 'note_id') == ARGV[2] then redis.call('HSET', KEYS[1], 'note', ARGV[1]) end
return 'done'
"""

REENCRYPT = """
-- owner, mark that was read, record
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lost' end
if redis.call('HGET', KEYS[1], 'fingerprint') ~= ARGV[2] then return 'newer' end
redis.call('HSET', KEYS[1], 'record', ARGV[3])
return 'done'
"""

SET_ASIDE = """
-- owner, lifetime; KEYS[3] is where to
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lost' end
if redis.call('HEXISTS', KEYS[1], 'record') == 0 then return 'done' end
local note = redis.call('HMGET', KEYS[1], 'note', 'note_id')
-- A full server refuses here, not between the next steps.
if note[1] then redis.call('HSET', KEYS[1], 'note', note[1]) end
redis.call('RENAME', KEYS[1], KEYS[3])
if redis.call('PTTL', KEYS[3]) < 0 then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
if note[1] then
  redis.call('HSET', KEYS[1], 'note', note[1], 'note_id', note[2] or '')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 'done'
"""

DELETE = """
-- owner, tombstone, its lifetime
local gone = redis.call('GET', KEYS[3])
if gone == ARGV[2] .. '1' then return 1 end
if gone == ARGV[2] .. '0' then return 0 end
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lost' end
local there = redis.call('HEXISTS', KEYS[1], 'record')
redis.call('SET', KEYS[3], ARGV[2] .. there, 'PX', ARGV[3])
redis.call('DEL', KEYS[1])
return there
"""

_EVEN_IF_FULL = "#!lua flags=allow-oom\n"
"""What has a server from version 7 on run a script also when its memory is full: what was paid for with a token must be kept."""


def name(key: str) -> str:
    """Return what a session's hash is called; the braces have a cluster keep what belongs to it on one server."""
    return f"{PREFIX}{{{key}}}"


def call(
    key: str,
    script: str,
    *arguments: t.Any,
    third: str | None = None,
    even_if_full: bool = False,
) -> t.Callable[[t.Any], t.Any]:
    """Return what has a client run a script for a session; ``third`` takes the tombstone's place."""
    first = name(key)
    keys = (first, f"{first}:lock", third or f"{first}:gone")
    # With its text, not by its digest: a server that was started anew knows no digests, and no right to load is needed.
    text = _EVEN_IF_FULL + script if even_if_full else script
    return lambda client: _checked(script, client.eval(text, len(keys), *keys, *arguments))


def _checked(script: str, answer: t.Any) -> t.Any:
    """Return what a script answers. Raises :class:`OddAnswer`, lest something else than its success passes for it."""
    if script != ACQUIRE:
        if answer not in _ANSWERS[script]:
            raise UnexpectedReply
    elif answer != [0]:
        if not isinstance(answer, list) or answer[:1] != [1]:
            raise UnexpectedReply
        check_fields(answer[1:], 4)
    return answer


def raise_refusal(answer: object) -> None:
    """Raise the :class:`StoreError` that an answer of a script stands for, if it does."""
    if isinstance(answer, bytes) and answer in _REFUSALS:
        raise _REFUSALS[answer]()


def _lost() -> StoreError:
    return StoreError(
        "The lock of the session was lost to another task, or with the Redis server, before its login token was used: try again.",
        code="LockLost",
        retryable=True,
    )


def _newer() -> StoreError:
    return StoreError(
        "A newer login token of the session was kept meanwhile, by another task: run the task again to get that one.",
        code="NewerRecord",
        retryable=True,
    )


def _forgotten() -> StoreError:
    return StoreError(
        "The session was forgotten meanwhile, by another task with state=absent: pass login_token to start it again.",
        code="SessionForgotten",
    )


_ANSWERS: dict[str, tuple[object, ...]] = {
    RENEW: (b"done",),
    RELEASE: (b"done",),
    WRITE_NOTE: (b"done", b"lost", b"newer"),
    SAVE: (b"done", b"gone", b"newer"),
    SAVE_FAILURE: (b"done",),
    REENCRYPT: (b"done", b"lost", b"newer"),
    SET_ASIDE: (b"done", b"lost"),
    DELETE: (0, 1, b"lost"),
}

_REFUSALS: dict[bytes, t.Callable[[], StoreError]] = {
    b"lost": _lost,
    b"newer": _newer,
    b"gone": _forgotten,
}
