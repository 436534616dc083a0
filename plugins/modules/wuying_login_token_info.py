#!/usr/bin/python

# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wuying_login_token_info
author:
  - The wuying.workspace authors (@wuying-workspace)
short_description: List the WUYING Workspace sessions that a store holds
version_added: 0.1.0
description:
  - Lists the sessions that a store has a record of, with the ages and the states of their login tokens, and never a token. It sends
    and writes nothing. Options that name a session or the service have no effect, O(filters) choose; so C(module_defaults) may have them.
  - The module runs where the task runs and reads the store of that host and that user. Normal use is C(delegate_to=localhost) with
    C(become=false).
extends_documentation_fragment:
  - wuying.workspace.attributes
  - wuying.workspace.session.many
  - wuying.workspace.session
  - wuying.workspace.store
  - wuying.workspace.service
attributes:
  check_mode:
    support: full
    details:
      - The module only reads.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  end_user_id:
    description:
      - Has no effect here, see O(filters).
    type: str
  filters:
    description:
      - Which sessions to list, as a dictionary of O(region_id), O(client_id), O(office_site_id), O(end_user_id), O(directory_id), O(session_id) and
        O(endpoint), each with a text or a list of texts, of which one must be the session's own.
      - A record that is damaged is listed whatever the filters, since nobody knows whose it is.
    type: dict
notes:
  - All options that the modules of this collection share are accepted, so that C(module_defaults) can set them once for all. Only those of the store,
    O(refresh_before) and O(filters) have an effect here.
seealso:
  - module: wuying.workspace.wuying_login_tokens
    description: Keeps the sessions of a store current.
  - module: wuying.workspace.wuying_login_token
    description: Keeps one session current, or forgets it.
"""

EXAMPLES = r"""
---
- name: List what the store holds
  wuying.workspace.wuying_login_token_info:
  delegate_to: localhost
  become: false
  register: store

- name: Show whose tokens are not current
  ansible.builtin.debug:
    msg: "{{ item.session.end_user_id }} is {{ item.state }}."
  loop: "{{ store.sessions | selectattr('state', 'ne', 'current') | selectattr('session', 'defined') }}"
  loop_control:
    label: "{{ item.session.end_user_id }}"

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
    - The sessions, those that expire first before the others, and damaged records at the end.
  returned: success
  type: list
  elements: dict
  contains:
    session:
      description: The identity of the session. Missing where the record is damaged.
      type: dict
      sample:
        client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
        end_user_id: alice
        endpoint: https://ecd.cn-hangzhou.aliyuncs.com
        office_site_id: cn-hangzhou+dir-2381912345
        region_id: cn-hangzhou
    key:
      description: The key under which the store holds the record.
      type: str
      sample: 0c6c1e5b0f7e0d3f2f1b8f6f0f6e7a4d6f9d2c1b0a9f8e7d6c5b4a3f2e1d0c9b
    state:
      description:
        - V(current) where the token has more than O(refresh_before) seconds to live, V(stale) where it has fewer, V(expired) where it has none.
        - V(ended) where the service has refused the token, so that the user must log in again.
        - V(damaged) where the record cannot be read.
      type: str
      sample: current
    obtained_at:
      description: When the token was asked for, in UTC.
      type: str
      sample: "2026-01-31T08:00:00Z"
    expires_at:
      description: When the token dies at the latest, in UTC.
      type: str
      sample: "2026-01-31T08:15:00Z"
    remaining:
      description: For how many seconds the token may still live, at most.
      type: int
      sample: 893
    outcome_unknown:
      description: Whether an exchange of the token began and its outcome is unknown.
      type: bool
      sample: false
    damage:
      description: What is wrong with the record, where it is damaged.
      type: str
      sample: it is not JSON
counts:
  description:
    - How many sessions are in which state.
  returned: success
  type: dict
  sample: {current: 1998, damaged: 0, ended: 1, expired: 0, stale: 1}
error_code:
  description:
    - What kind of error it is, such as V(StoreUnavailable), or V(WrongStoreKey) where there is a record that no key of O(store_key) opens.
  returned: failure
  type: str
  sample: StoreUnavailable
retryable:
  description:
    - Whether the same task may succeed later without anything being changed.
  returned: failure
  type: bool
  sample: true
"""

import time
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils._model.encoding import (
    format_timestamp,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import (
    OptionError,
    StoreError,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.record import (
    CURRENT,
    ENDED,
    EXPIRED,
    STALE,
    StoredState,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import (
    argument_spec,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet_options import (
    read_filters,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.module import Module
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import (
    read_refresh_before,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_store_only

DAMAGED = "damaged"


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec={**argument_spec(one_session=False), "filters": {"type": "dict"}},
        supports_check_mode=True,
    )
    module.execute(lambda: finish(module, run(module)))


def run(module: Module) -> list[dict[str, t.Any]]:
    """Return what the store holds of which sessions. Raises :class:`WuyingError`."""
    get_option = module.params.get
    if get_option("store") == "none":
        raise OptionError("store=none keeps nothing, so there is nothing to list.")
    matches = read_filters(get_option("filters"))
    refresh_before, now = read_refresh_before(get_option), time.time()
    found: list[tuple[float, str, StoredState]] = []
    with open_store_only(get_option) as store:
        keys = list(store.keys())
        for key, stored in zip(keys, store.read_many(keys)):
            if isinstance(stored, StoreError):
                raise stored
            if stored.damage:
                found.append((float("inf"), key, stored))
            elif stored.record is not None and matches(stored.record.session):
                found.append((stored.record.expires_at, key, stored))
    found.sort(key=lambda each: each[:2])
    return [describe(key, stored, now, refresh_before) for _expiry, key, stored in found]


def finish(module: Module, sessions: list[dict[str, t.Any]]) -> None:
    """Exit with the sessions and their number by state."""
    counts = dict.fromkeys((CURRENT, STALE, EXPIRED, ENDED, DAMAGED), 0)
    for session in sessions:
        counts[session["state"]] += 1
    module.exit_json(changed=False, sessions=sessions, counts=counts)


def describe(key: str, stored: StoredState, now: float, refresh_before: float) -> dict[str, t.Any]:
    """Return what a store holds of a session, without its token."""
    record = stored.record
    if record is None:
        return {"key": key, "state": DAMAGED, "damage": stored.damage}
    return {
        "key": key,
        "session": record.session.identity(),
        "state": record.state(now, refresh_before),
        "obtained_at": format_timestamp(record.obtained_at),
        "expires_at": format_timestamp(record.expires_at),
        "remaining": record.remaining(now),
        "outcome_unknown": stored.may_be_spent(record.login_token),
    }


if __name__ == "__main__":
    main()
