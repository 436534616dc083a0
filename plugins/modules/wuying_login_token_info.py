#!/usr/bin/python

# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wuying_login_token_info
author:
  - The wuying.workspace authors (@wuying-workspace)
short_description: List sessions and their states
version_added: 0.1.0
description:
  - Lists the sessions in a store, with the age and state of their login tokens, and whether the sessions can repair themselves, but never a token.
    Sends and writes nothing.
  - Also lists the accounts with a blocked password. It is not sent at the moment, because an earlier login with it was refused or its outcome is unknown.
  - The module accepts all options that the modules of this collection share, so that C(module_defaults) can set them once. Only the options of the
    store, O(refresh_before), O(deadline), and O(filters) have an effect.
  - The module reads the store of the host and the user that run the task. Usually, run it with C(delegate_to=localhost) and
    C(become=false).
extends_documentation_fragment:
  - wuying.workspace.attributes
  - wuying.workspace.session.no_effect
  - wuying.workspace.session
  - wuying.workspace.store
  - wuying.workspace.service.no_effect
  - wuying.workspace.service
attributes:
  check_mode:
    support: full
    details:
      - The module only reads the store.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  end_user_id:
    description:
      - This option has no effect in this module. Use O(filters) instead.
    type: str
  deadline:
    description:
      - The maximum duration in seconds (up to 86400) of the task, for a store in Redis.
  refresh_before:
    description:
      - The number of seconds (0 to 31622400) before its expiry at which a login token is listed as V(stale). The value is capped at half of the token's
        validity.
  filters:
    description:
      - A dictionary that selects the sessions to list. Its keys can be O(region_id), O(client_id), O(office_site_id), O(end_user_id),
        O(directory_id), and O(endpoint). Each value is a string or a list of strings, one of which must match the session.
      - Records that cannot be read are always listed, because their sessions are unknown.
      - They do not apply to RV(accounts).
      - If not set, all sessions are listed.
    type: dict
  limit:
    description:
      - The maximum number of sessions to list (0 to 10000000), those that expire first. The same limit applies separately to unreadable
        records.
      - RV(counts) and RV(next_expiry) include all sessions, and RV(accounts) includes all accounts.
      - If not set, all sessions are listed.
    type: int
seealso:
  - module: wuying.workspace.wuying_login_tokens
    description: Keeps the login tokens of many sessions valid.
  - module: wuying.workspace.wuying_login_token
    description: Keeps the login token of one session valid, or deletes its record.
"""

EXAMPLES = r"""
---
- name: List all sessions in the store
  wuying.workspace.wuying_login_token_info:
  delegate_to: localhost
  become: false
  register: store

- name: Show users without a current token
  ansible.builtin.debug:
    msg: "The token of {{ item.session.end_user_id }} is {{ item.state }}."
  loop: "{{ store.sessions | selectattr('state', 'ne', 'current') | selectattr('session', 'defined') }}"
  loop_control:
    label: "{{ item.session.end_user_id }}"

- name: Show records that cannot be read
  ansible.builtin.debug:
    msg: "{{ item.msg }}"
  loop: "{{ store.sessions | selectattr('error_code', 'defined') }}"
  loop_control:
    label: "{{ item.key | default(item.state) }}"

- name: Show accounts with a blocked password
  ansible.builtin.debug:
    msg: "A password of {{ item.end_user_id }} is blocked until {{ item.blocked_until }}."
  loop: "{{ store.accounts }}"
  loop_control:
    label: "{{ item.end_user_id }}"

- name: Show users whose sessions cannot repair themselves
  ansible.builtin.debug:
    msg: "{{ store.sessions | selectattr('stays_logged_in', 'defined') | rejectattr('stays_logged_in') | map(attribute='session.end_user_id') }}"

- name: Count the sessions of a large store, and list those whose tokens expire first
  wuying.workspace.wuying_login_token_info:
    limit: 20
  delegate_to: localhost
  become: false

- name: List the sessions of alice and bob
  wuying.workspace.wuying_login_token_info:
    filters:
      end_user_id: [alice, bob]
  delegate_to: localhost
  become: false
"""

RETURN = r"""
sessions:
  description:
    - The sessions, sorted by the expiry of their tokens, with records that cannot be read last. O(limit) restricts their number. At most 10,000
      records that cannot be read are returned. RV(counts) covers all of them.
  returned: success
  type: list
  elements: dict
  contains:
    session:
      description: The identity of the session. Only returned if the record can be read.
      type: dict
      sample:
        client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
        end_user_id: alice
        endpoint: https://ecd.cn-hangzhou.aliyuncs.com
        office_site_id: cn-hangzhou+dir-2381912345
        region_id: cn-hangzhou
    key:
      description: The key of the record in the store. Not returned for records that are V(unreachable).
      type: str
      sample: 0c6c1e5b0f7e0d3f2f1b8f6f0f6e7a4d6f9d2c1b0a9f8e7d6c5b4a3f2e1d0c9b
    state:
      description:
        - V(current) if the token is valid for more than O(refresh_before) seconds.
        - V(stale) if it is valid, but not for more than O(refresh_before) seconds.
        - V(expired) if it has expired.
        - V(ended) if the service has rejected the token. If RV(sessions[].stays_logged_in) is V(true), the next task or lookup logs in.
          Otherwise, the user must log in again.
        - V(damaged) if the record cannot be read, because its content is not valid.
        - V(locked) if no key in O(store_key) can decrypt the record.
        - V(unencrypted) if O(store_key) is set, but the record is not encrypted.
        - V(newer) if a newer version of this collection wrote the record.
        - V(unreadable) if the record cannot be read for another reason, which RV(sessions[].error_code) and RV(sessions[].msg) explain.
        - V(unreachable) for all records of a node of a Redis Cluster that cannot be listed. It is a single entry for each node.
          Another single entry stands for all records in Redis that cannot be read before O(deadline).
      type: str
      sample: current
    obtained_at:
      description: The time just before the request that obtained the token was sent, in UTC.
      type: str
      sample: "2026-01-31T08:00:00Z"
    expires_at:
      description: The time at which the token expires at the latest, in UTC.
      type: str
      sample: "2026-01-31T08:15:00Z"
    remaining:
      description: The number of seconds for which the token is still valid, at most.
      type: int
      sample: 893
    outcome_unknown:
      description:
        - Whether a refresh or login was started, and its outcome is unknown. Either it is in progress, or it was interrupted. The token may no
          longer be valid.
      type: bool
      sample: false
    stays_logged_in:
      description:
        - Whether the session can repair itself, because a keep-alive token is stored. Not returned if the record cannot be read.
      type: bool
      sample: true
    keep_alive_age:
      description:
        - The number of seconds since the service issued the keep-alive token. It is renewed after 3 days, with the next refresh that is due.
          A higher age than that means that the session is not refreshed regularly, or that the service issued no new one.
        - Only returned if RV(sessions[].stays_logged_in) is V(true).
      type: int
      sample: 86400
    keep_alive_refusals:
      description:
        - How often the service has refused the keep-alive token since it last issued or accepted it. Only returned if
          RV(sessions[].stays_logged_in) is V(true).
      type: int
      sample: 0
    keep_alive_blocked_until:
      description:
        - The time in UTC before which the keep-alive token is not sent again, because the service refused it. Null if it does not have to wait.
          Only returned if RV(sessions[].stays_logged_in) is V(true).
      type: str
      sample: "2026-01-31T09:00:00Z"
    error_code:
      description: The kind of error. Only returned if the record cannot be read.
      type: str
      sample: WrongStoreKey
    msg:
      description: What is wrong and what to do. Only returned if the record cannot be read.
      type: str
      sample: The record of this session is encrypted. Set store_key to the key that it was encrypted with.
counts:
  description:
    - The number of sessions in each state.
  returned: success
  type: dict
  sample:
    current: 1998
    damaged: 0
    ended: 1
    expired: 0
    locked: 0
    newer: 0
    stale: 1
    unencrypted: 0
    unreachable: 0
    unreadable: 0
next_expiry:
  description:
    - The time in UTC at which the first of the tokens that are still valid expires. Null if no token is valid.
  returned: success
  type: str
  sample: "2026-01-31T08:15:00Z"
accounts:
  description:
    - The accounts with a blocked password, sorted by the end of the wait. Another password is sent at once, unless three logins were refused
      within 24 hours. To log in before the end of the wait, run M(wuying.workspace.wuying_login_token) with C(password) and C(force=true).
  returned: success
  type: list
  elements: dict
  contains:
    endpoint:
      description: The URL of the service.
      type: str
      sample: https://ecd.cn-hangzhou.aliyuncs.com
    office_site_id:
      description: The ID of the office network.
      type: str
      sample: cn-hangzhou+dir-2381912345
    end_user_id:
      description: The end user, in lowercase.
      type: str
      sample: alice
    blocked_until:
      description: The time in UTC at which the wait ends. If several passwords were refused, each has its own wait, and this is the longest one.
      type: str
      sample: "2026-01-31T09:00:00Z"
    refusals:
      description: The number of refused logins in the last 30 days, since the last login that was completed.
      type: int
      sample: 1
    unknown_outcomes:
      description: The number of logins whose outcome is unknown, in the same time.
      type: int
      sample: 0
error_code:
  description:
    - The kind of error, for example V(StoreUnavailable). A record that cannot be read does not fail the module.
  returned: failure
  type: str
  sample: StoreUnavailable
retryable:
  description:
    - Whether the same task can succeed later without changes.
  returned: failure
  type: bool
  sample: true
"""

import math
import time
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils._model.account import REFUSED, UNKNOWN, AccountEntry
from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import format_timestamp
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError, StoreError
from ansible_collections.wuying.workspace.plugins.module_utils._model.keep_alive import KeepAlive
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import (
    CURRENT,
    ENDED,
    EXPIRED,
    STALE,
    Record,
    StoredState,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import argument_spec
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet import MOST_FAILED, read_filters
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.module import Module
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import read_number, read_refresh_before
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_store_only
from ansible_collections.wuying.workspace.plugins.module_utils._store.listing import read_accounts, read_all

UNREACHABLE = "unreachable"
UNREADABLE = "unreadable"
UNREADABLE_BECAUSE = {
    "DamagedRecord": "damaged",
    "WrongStoreKey": "locked",
    "NotEncrypted": "unencrypted",
    "NewerFormat": "newer",
}
"""The states of records that cannot be read, by error code. With any other code, a record is unreadable."""
STATES = (CURRENT, STALE, EXPIRED, ENDED, *UNREADABLE_BECAUSE.values(), UNREADABLE, UNREACHABLE)


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec={**argument_spec(one_session=False), "filters": {"type": "dict"}, "limit": {"type": "int"}},
        supports_check_mode=True,
    )
    module.execute(lambda: module.exit_json(changed=False, **run(module)))


def run(module: Module) -> dict[str, t.Any]:
    """Return the sessions that the filters select, earliest expiry first, their counts, the next expiry, and the accounts that wait.

    Raises :class:`WuyingError`.
    """
    get_option = module.params.get
    if get_option("store") == "none":
        raise OptionError(
            "store=none stores nothing, so there is nothing to list. Set store to a directory or a Redis URL."
        )
    matches = read_filters(get_option("filters"))
    limit = None if get_option("limit") is None else int(read_number(get_option, "limit", 0, 10_000_000))
    most_unreadable = MOST_FAILED if limit is None else min(limit, MOST_FAILED)
    refresh_before, now = read_refresh_before(get_option), time.time()
    listed: list[tuple[float, str, dict[str, t.Any]]] = []
    counts, unreadable, next_expiry = dict.fromkeys(STATES, 0), 0, math.inf
    with open_store_only(get_option) as store:
        for key, stored in read_all(store):
            if isinstance(stored, StoreError):
                expiry, entry = math.inf, describe_error(key, stored)
                unreadable += bool(key)
            elif stored.record is not None and matches(stored.record.session):
                expiry = stored.record.expires_at
                entry = describe(key, stored, stored.record, now, refresh_before)
                if entry["state"] in (CURRENT, STALE):
                    next_expiry = min(next_expiry, expiry)
            else:
                continue
            counts[entry["state"]] += 1
            if expiry < math.inf or not key or unreadable <= most_unreadable:
                listed.append((expiry, key, entry))
        try:
            waiting = [entry for entry in read_accounts(store) if entry.as_of(now).blocked_until(now)]
        except StoreError as error:
            waiting = []
            module.warn(f"The accounts whose logins must wait could not be listed. {error.message}")
    listed.sort(key=lambda each: each[:2])
    accounts = sorted((describe_account(entry, now) for entry in waiting), key=lambda each: each["blocked_until"])
    readable = [entry for expiry, _key, entry in listed if expiry < math.inf]
    return {
        "sessions": readable[:limit] + [entry for expiry, _key, entry in listed if expiry == math.inf],
        "counts": counts,
        "next_expiry": None if next_expiry == math.inf else format_timestamp(next_expiry),
        "accounts": accounts,
    }


def describe_error(key: str, error: StoreError) -> dict[str, t.Any]:
    """Return the entry of a record that cannot be read or, if ``key`` is empty, of records that cannot be listed."""
    state = UNREADABLE_BECAUSE.get(error.code, UNREADABLE) if key else UNREACHABLE
    return {**({"key": key} if key else {}), "state": state, "error_code": error.code, "msg": error.message}


def describe(key: str, stored: StoredState, record: Record, now: float, refresh_before: float) -> dict[str, t.Any]:
    """Return the entry of a session, without its token."""
    return {
        "key": key,
        "session": record.session.identity(),
        "state": record.state(now, refresh_before),
        "obtained_at": format_timestamp(record.obtained_at),
        "expires_at": format_timestamp(record.expires_at),
        "remaining": record.remaining(now),
        "outcome_unknown": stored.may_be_spent(record.login_token),
        **describe_keep_alive(record.keep_alive, now),
    }


def describe_keep_alive(keep_alive: KeepAlive | None, now: float) -> dict[str, t.Any]:
    """Return whether a session can log in by itself, and the age of its keep-alive token, without the token."""
    if keep_alive is None:
        return {"stays_logged_in": False}
    blocked_until = keep_alive.blocked_until(now)
    return {
        "stays_logged_in": True,
        "keep_alive_age": max(0, int(now - keep_alive.obtained_at)),
        "keep_alive_refusals": keep_alive.refusals,
        "keep_alive_blocked_until": None if blocked_until is None else format_timestamp(blocked_until),
    }


def describe_account(entry: AccountEntry, now: float) -> dict[str, t.Any]:
    """Return an account whose logins must wait, without anything about its secrets."""
    return {
        **entry.account._asdict(),
        "blocked_until": format_timestamp(t.cast(float, entry.as_of(now).blocked_until(now))),
        "refusals": sum(each.outcome == REFUSED for each in entry.attempts),
        "unknown_outcomes": sum(each.outcome == UNKNOWN for each in entry.attempts),
    }


if __name__ == "__main__":
    main()
