# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Change a session in Redis in one step, with Lua scripts.

Each script is idempotent, so it may be run again after a lost reply. KEYS are the session's hash, its lock and its
tombstone; they share a hash tag. An empty string stands for an absent value.
"""

from __future__ import annotations

import typing as t

from .._model.exceptions import StoreError
from .failures import UnexpectedReply, check_fields

PREFIX = "wuying.workspace:"
"""The start of all key names."""

ACQUIRE = """
-- owner, lease; then fingerprint as read, note, note_id, lifetime to write a note too, if the session has none
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then return {0} end
if ARGV[3] then
  -- A full server refuses only the first write of a script, and never HDEL. Without a lock, this changes nothing.
  redis.call('SET', KEYS[2], ARGV[1], 'XX', 'PX', ARGV[2])
  redis.call('HDEL', KEYS[1], '') -- as in WRITE_NOTE
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local stored = redis.call('HMGET', KEYS[1], 'record', 'note', 'fingerprint', 'note_id')
local is_free = not stored[2] or stored[4] == ARGV[5]
local is_noted = ARGV[3] and is_free and (stored[3] or '') == ARGV[3]
if is_noted then
  redis.call('HSET', KEYS[1], 'note', ARGV[4], 'note_id', ARGV[5])
  redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[6])))
  stored[2] = false
end
-- Cut off what is no record, so that the reply is not too large, and the task can set it aside.
for n = 1, 3 do stored[n] = stored[n] and string.sub(stored[n], 1, 65536) end
return {is_noted and 2 or 1, stored[1], stored[2], stored[3], redis.call('GET', KEYS[3])}
"""

RENEW = """
-- owner, lease
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
return 'done'
"""

RELEASE = """
-- owner, note_id of a note to remove
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], 'note_id') == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'note', 'note_id')
end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('PEXPIRE', KEYS[2], 0) end
return 'done'
"""

WRITE_NOTE = """
-- owner, fingerprint as read, note, note_id, lifetime
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lost' end
local fingerprint = redis.call('HGET', KEYS[1], 'fingerprint')
if fingerprint and fingerprint ~= ARGV[2] then return 'newer' end
redis.call('HSET', KEYS[1], 'note', ARGV[3], 'note_id', ARGV[4])
-- Deletes nothing. SAVE needs this right too, so a user without it fails here, before the token is spent.
redis.call('HDEL', KEYS[1], '')
redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[5])))
return 'done'
"""

SAVE = """
-- tombstone as read, fingerprint as read, new fingerprint, record, lifetime, note_id, owner of a lock to release, new note, its note_id
local tombstone = redis.call('GET', KEYS[3])
if tombstone and tombstone ~= ARGV[1] then return 'deleted' end
local fingerprint = redis.call('HGET', KEYS[1], 'fingerprint')
if fingerprint and fingerprint ~= ARGV[2] and fingerprint ~= ARGV[3] then return 'newer' end
-- After a lost reply, the token is saved and the lock released, and another task may have changed the record since.
local is_saved = fingerprint == ARGV[3] and ARGV[2] ~= ARGV[3]
if is_saved and ARGV[7] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[7] then return 'done' end
redis.call('HSET', KEYS[1], 'record', ARGV[4], 'fingerprint', ARGV[3])
if redis.call('HGET', KEYS[1], 'note_id') == ARGV[6] then redis.call('HDEL', KEYS[1], 'note', 'note_id') end
if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'note', ARGV[8], 'note_id', ARGV[9]) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if redis.call('GET', KEYS[2]) == ARGV[7] then redis.call('PEXPIRE', KEYS[2], 0) end
return 'done'
"""

SAVE_FAILURE = """
-- note, note_id
if redis.call('HGET', KEYS[1], 'note_id') == ARGV[2] then redis.call('HSET', KEYS[1], 'note', ARGV[1]) end
return 'done'
"""

REWRITE = """
-- owner, fingerprint as read, record, lifetime
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lost' end
if (redis.call('HGET', KEYS[1], 'fingerprint') or '') ~= ARGV[2] then return 'newer' end
redis.call('HSET', KEYS[1], 'record', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 'done'
"""

SET_ASIDE = """
-- owner, lifetime; KEYS[3] is the new name
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lost' end
if redis.call('HEXISTS', KEYS[1], 'record') == 0 then return 'done' end
local stored = redis.call('HMGET', KEYS[1], 'note', 'note_id')
-- A full server refuses this write. The steps below then never stop half way.
if stored[1] then redis.call('HSET', KEYS[1], 'note', stored[1]) end
redis.call('RENAME', KEYS[1], KEYS[3])
if redis.call('PTTL', KEYS[3]) < 0 then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
if stored[1] then
  redis.call('HSET', KEYS[1], 'note', stored[1], 'note_id', stored[2] or '')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 'done'
"""

DELETE = """
-- owner, tombstone, lifetime of the tombstone
local tombstone = redis.call('GET', KEYS[3])
if tombstone == ARGV[2] .. '1' then return 1 end
if tombstone == ARGV[2] .. '0' then return 0 end
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lost' end
local existed = redis.call('HEXISTS', KEYS[1], 'record')
redis.call('SET', KEYS[3], ARGV[2] .. existed, 'PX', ARGV[3])
redis.call('DEL', KEYS[1])
return existed
"""

_REPLIES: dict[str, tuple[object, ...]] = {
    ACQUIRE: ([0],),
    WRITE_NOTE: (b"done", b"lost", b"newer"),
    SAVE: (b"done", b"deleted", b"newer"),
    REWRITE: (b"done", b"lost", b"newer"),
    SET_ASIDE: (b"done", b"lost"),
    DELETE: (0, 1, b"lost"),
}
"""All possible replies of the scripts that may return anything but 'done'.

ACQUIRE may also return the stored values, after 2 if it wrote the note, and otherwise after 1.
"""
_REFUSALS: dict[object, tuple[str, bool, str]] = {
    b"lost": (
        "LockLost",
        True,
        "This task lost the session's lock, because its lease expired or the Redis server restarted. Nothing was sent. Try again.",
    ),
    b"newer": (
        "NewerRecord",
        True,
        "Another task saved a newer login token of this session. Run the task again to use it.",
    ),
    b"deleted": (
        "SessionForgotten",
        False,
        "Another task removed this session with state=absent.",
    ),
}
"""The error code, whether to try again, and the message, for each reply that means that nothing was written."""
_EVEN_IF_FULL = "redis.call('HDEL', KEYS[1], '')\n"
"""With this first line, a server runs a script even if its memory is full: it refuses only the first write, and never HDEL."""


def hash_name(key: str) -> str:
    """Return the name of a session's hash. Because of the braces, a cluster stores all keys of a session on one node."""
    return f"{PREFIX}{{{key}}}"


def command(
    key: str, script: str, *arguments: t.Any, third_key: str | None = None, even_if_full: bool = False
) -> t.Callable[[t.Any], t.Any]:
    """Return a function that runs a script for a session on a client. ``third_key`` replaces the tombstone."""
    name = hash_name(key)
    keys = (name, f"{name}:lock", third_key or f"{name}:gone")
    # The text and not its digest, because a restarted server knows no digests, and SCRIPT LOAD would need another right.
    text = _EVEN_IF_FULL + script if even_if_full else script
    return lambda client: _check_reply(script, client.eval(text, len(keys), *keys, *arguments))


def raise_refusal(reply: object) -> None:
    """Raise the :class:`StoreError` for a reply that means that nothing was written."""
    if reply in _REFUSALS:
        code, retryable, message = _REFUSALS[reply]
        raise StoreError(message, code=code, retryable=retryable)


def _check_reply(script: str, reply: t.Any) -> t.Any:
    """Return the reply of a script. Raises :class:`UnexpectedReply` if the script never returns it."""
    if script == ACQUIRE and isinstance(reply, list) and reply[:1] in ([1], [2]):
        check_fields(reply[1:], 4)
    elif reply not in _REPLIES.get(script, (b"done",)):
        raise UnexpectedReply
    return reply
