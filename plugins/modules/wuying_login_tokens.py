#!/usr/bin/python

# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wuying_login_tokens
author:
  - The wuying.workspace authors (@wuying-workspace)
short_description: Keep the tokens of many users valid
version_added: 0.1.0
description:
  - Ensures that many sessions have current login tokens, as M(wuying.workspace.wuying_login_token) does for one session, but much faster than
    a loop over that module. Stale tokens are refreshed in parallel, earliest expiry first.
  - If the service no longer accepts the token of a session, the module logs in again, with the keep-alive token that
    O(stay_logged_in) has stored, and otherwise with O(sessions[].password). So a fleet repairs itself after an outage, without any password
    on the schedule.
  - If the service refuses the first 20 logins of a task and accepts none, the task sends no more. The other sessions that need a
    login fail with C(error_code=LoginsStopped), and nothing counts against their accounts.
  - With O(sessions), the module processes these sessions. Without it, the module processes all sessions in the store, or those that O(filters)
    selects. Run it this way on a schedule to keep the tokens of a fleet valid.
  - With O(copy_from), the module sends no request. It copies sessions from another store instead.
  - A session that fails does not stop the others. RV(sessions) contains the result of each session that O(results) selects, by default
    of those that failed or have warnings.
  - On a schedule, O(refresh_before) must be at least the interval of the schedule plus the duration of a run. The value is capped at half
    of the validity of a token. With a validity of 15 minutes, run the task every 4 minutes.
  - The module uses the store, the environment, and the Python packages of the host and the user that run the task. Usually, run it with
    C(delegate_to=localhost) and C(become=false).
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
      - Predicts the result of each session from its record. Sends and writes nothing.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - While all tokens are current, running the task again changes nothing.
      - With O(force=true) or O(store=none), every run refreshes all tokens.
options:
  end_user_id:
    description:
      - The end user of each entry of O(sessions) that does not set its own.
    type: str
  sessions:
    description:
      - The sessions to process. Each is a dictionary, or a string, which is an O(sessions[].end_user_id). Values that an entry does not set are
        taken from the options of the task.
      - A string with a line break or one of the characters C([]{}=:) is refused, because it may be JSON or YAML text with a token. Pass such an
        O(sessions[].end_user_id) in a dictionary.
      - Without it, the options of the task that identify a session have no effect, so that C(module_defaults) can set them. Only O(endpoint)
        still names an endpoint that records may have.
      - If not set, the module processes all sessions in the store, or those that O(filters) selects.
    type: list
    elements: dict
    suboptions:
      region_id:
        description: The region of this session.
        type: str
      client_id:
        description: The client of this session.
        type: str
      office_site_id:
        description: The office network of this session.
        type: str
      end_user_id:
        description: The end user of this session.
        type: str
      directory_id:
        description: The directory of this session.
        type: str
      endpoint:
        description: The URL of the service for this session.
        type: str
      login_token:
        description:
          - The login token to start this session with, as in M(wuying.workspace.wuying_login_token). It is needed once for each session. The
            environment variable E(WUYING_LOGIN_TOKEN) is not used.
          - A task can contain at most 1,000 login tokens, passwords, TOTP secrets and codes together, because the time that Ansible takes to hide
            secrets grows with the square of their number. Start a larger fleet in several tasks.
        type: str
      session_id:
        description: The C(SessionId) that the service issued with the login token of this session.
        type: str
      password:
        description:
          - The password of this session's end user, as in M(wuying.workspace.wuying_login_token). It is sent only if a login is necessary.
          - If sessions of the same user share a password that the service refuses, it is sent once. The other sessions fail with
            C(error_code=LoginBlocked). O(force) does not end the wait. Use M(wuying.workspace.wuying_login_token) for that, and for the first login
            at an endpoint that is neither that of the region nor a loopback address.
        type: str
      totp_secret:
        description: The secret of the MFA device of this session's end user, to compute one-time codes. Requires O(sessions[].password).
        type: str
      authentication_code:
        description: The one-time code that the MFA device of this session's end user displays. Requires O(sessions[].password).
        type: str
      stay_logged_in:
        description: Whether to ask for a keep-alive token when this session logs in with O(sessions[].password).
        type: bool
      uuid:
        description: The identifier of the device, for office networks that admit trusted devices only. It is stored with the session.
        type: str
  filters:
    description:
      - A dictionary that selects the sessions of the store to process. Its keys can be O(region_id), O(client_id), O(office_site_id),
        O(end_user_id), O(directory_id), and O(endpoint). Each value is a string or a list of strings, one of which must match the session.
      - You cannot combine it with O(sessions). A record that cannot be read is always reported as failed, because its session is unknown.
      - If not set, all sessions in the store are processed.
      - A session from the store whose endpoint is not that of its region or a loopback address fails with V(EndpointNotNamed), unless
        O(endpoint) or the C(endpoint) of this option names that endpoint. Otherwise, someone who can write to the store could choose where
        requests are sent. The C(endpoint) of this option also selects sessions, so list all endpoints of the fleet in it.
    type: dict
  stay_logged_in:
    description:
      - Whether to ask the service for keep-alive tokens when sessions log in with O(sessions[].password), and to store them, as in
        M(wuying.workspace.wuying_login_token). An entry of O(sessions) can set its own value.
      - Stored keep-alive tokens are used and renewed even if this option is V(false).
    type: bool
    default: false
  force:
    description:
      - Whether to refresh the tokens of all selected sessions, even if they are current, or if the service has rejected them before.
      - It does not force logins.
    type: bool
    default: false
  max_parallel:
    description:
      - The maximum number of sessions (1 to 256) to refresh at the same time. Each uses its own connection.
      - On Linux, several processes share a large number of sessions, unless O(max_qps) is set. There is at most one process more than there are
        processors, at most one for every 2 parallel sessions, and at most one for every 100 sessions that are due.
    type: int
    default: 8
  max_qps:
    description:
      - The maximum number of requests per second (0.001 to 1000000) that this task sends. Other tasks and hosts are not counted.
      - If set, a single process sends all requests, which limits the rate to about 1,000 requests per second.
      - If the service throttles requests, each process of the task slows down, and speeds up again as the service allows.
      - If not set, only O(max_parallel) limits the rate.
    type: float
  deadline:
    description:
      - The maximum duration of the whole task in seconds (up to 86400). For each session that is not yet processed when the deadline passes, a
        stored token that is still valid is returned with a warning. If there is none, if it cannot be read within another second, if a new
        O(sessions[].login_token) was passed, or with O(force=true), the session fails with C(error_code=DeadlineExceeded).
    type: float
    default: 900.0
  return_token:
    description:
      - Whether to return C(login_token) for each session. It is safer to look up tokens where you use them, with the lookup
        P(wuying.workspace.wuying_login_token#lookup).
      - O(store=none) requires V(true).
    type: bool
    default: false
  results:
    description:
      - Which sessions to return in RV(sessions).
      - V(failed) returns sessions that failed or have warnings, at most 10,000. RV(counts) and RV(msg) cover all of them.
      - V(all) returns all sessions, but at most 10,000 of those whose records cannot be read. V(none) returns none.
      - A session whose token was refreshed but could not be saved is always returned. With O(return_token=true), all sessions are always
        returned.
    type: str
    choices: [failed, all, none]
    default: failed
  fail_on:
    description:
      - When the task fails. V(any) fails it if at least one session failed, V(all) if all sessions failed and there was at least one, and
        V(none) never.
      - A session whose stored token was returned because it could not be refreshed has not failed. RV(counts.not_refreshed) counts it.
    type: str
    choices: [any, all, none]
    default: any
  rekey:
    description:
      - Whether to re-encrypt records that are not encrypted with the first key in O(store_key), including unencrypted records. Requires
        O(store_key).
      - Unencrypted records are read only with V(true). Set it once, to start to encrypt a store or to change keys, and not on a schedule.
        Otherwise, the task accepts records that someone without a key has written to the store.
      - The entries of accounts that O(sessions) or O(filters) select are re-encrypted, too.
    type: bool
    default: false
  copy_from:
    description:
      - The store to copy sessions from, for example to move them from a directory to Redis. O(store) is the store to copy to. Without
        O(sessions) and O(filters), all sessions are copied. No request is sent, so the options that describe requests have no effect.
      - The other store is only read. Before you copy, stop all tasks that use it. If one used it in the meantime, copy again.
      - A copied session has the same tokens, validity, and fingerprints of earlier tokens. If the outcome of a request is unknown, it is
        unknown in the copy, too. The login blocks of accounts are copied as well, with O(sessions) and O(filters) those of the selected users.
      - If both stores have the session, the newer token wins. A token is newer if it was obtained from the other one. Of tokens from two
        logins, one that is valid is newer than one that is not, and otherwise the one that was obtained later. If the copy wins, it also
        knows the tokens that the replaced record knew, and keeps its keep-alive token if it has none.
      - A record that cannot be read, in either store, is reported as failed, and is not changed. Running the task again copies only
        sessions that are missing or newer.
      - You cannot combine it with O(force), O(rekey), O(return_token), or O(store=none).
    type: dict
    suboptions:
      store:
        description:
          - The directory or the Redis URL to copy from, as in O(store). It must differ from O(store).
          - No option of this dictionary is read from the environment. O(store) and its secrets can come from the environment.
        type: str
        required: true
      store_username:
        description: The user name for this store, if it is in Redis. The rights C(+scan) and C(+hmget) are enough.
        type: str
      store_password:
        description: The password for this store, if it is in Redis.
        type: str
      store_ca_path:
        description: The path of CA certificates to verify this store, as in O(store_ca_path).
        type: str
      store_key:
        description:
          - The keys that decrypt the records of this store. The first key in O(store_key) encrypts them in O(store).
          - If not set, records must not be encrypted. If set, a record that is not encrypted fails with C(error_code=NotEncrypted).
        type: list
        elements: str
notes:
  - A task that takes longer than 5 seconds logs a line for each tenth of the sessions that are due, with the counts so far, to the system log of the
    host. To see the lines, run C(journalctl --follow --grep 'sessions processed') there. They contain no names. With C(no_log=true) on the task, nothing
    is logged.
  - If the task is stopped by SIGINT or SIGTERM, it finishes the sessions that it has begun, and fails with C(error_code=Interrupted). RV(counts) contains
    the counts so far. If C(ansible-playbook) itself is stopped, it shows no result, but the system log contains the counts.
  - With O(return_token=true), a registered result contains the tokens in plain text. Set C(no_log=true) on the task.
seealso:
  - module: wuying.workspace.wuying_login_token
    description: Keeps the login token of one session valid, forces a refresh, or deletes the session's record.
  - module: wuying.workspace.wuying_login_token_info
    description: Lists the sessions in a store.
  - plugin: wuying.workspace.wuying_login_token
    plugin_type: lookup
    description: Returns current tokens where you use them.
"""

EXAMPLES = r"""
---
# Credentials are in the environment variables ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET.
- name: Start the sessions of alice and bob
  wuying.workspace.wuying_login_tokens:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    sessions:
      - end_user_id: alice
        client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
        login_token: "{{ alice_login_token }}"
      - end_user_id: bob
        client_id: 0b6ea3f2-58a7-4f0e-9d2c-6f1f1e2d0000
        login_token: "{{ bob_login_token }}"
  delegate_to: localhost
  become: false
  no_log: true

- name: Refresh all stale tokens in the store
  wuying.workspace.wuying_login_tokens:
    max_qps: 50
  delegate_to: localhost
  become: false

- name: Refresh the tokens of one office network, and continue if some sessions fail
  wuying.workspace.wuying_login_tokens:
    filters:
      office_site_id: cn-hangzhou+dir-2381912345
    fail_on: all
  delegate_to: localhost
  become: false
  register: fleet

- name: Report users who must log in again
  ansible.builtin.debug:
    msg: "{{ item.session.end_user_id }}: {{ item.msg }}"
  loop: "{{ fleet.sessions | selectattr('login_needed') }}"
  loop_control:
    label: "{{ item.session.end_user_id }}"

# Ask for each keep-alive token once. From then on, the sessions repair themselves.
- name: Log in users whose sessions have ended, and stay logged in
  wuying.workspace.wuying_login_tokens:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    sessions:
      - end_user_id: carol
        client_id: 3c1f6a52-7d0e-4f3b-8a11-5b9f6d2e0000
        password: "{{ carol_password }}"
      - end_user_id: dave
        client_id: 9e7d0b14-2c55-4a6e-b1f0-7a3c8e4d0000
        password: "{{ dave_password }}"
        totp_secret: "{{ dave_totp_secret }}"
    stay_logged_in: true
  delegate_to: localhost
  become: false
  no_log: true

# The new store is in Redis. WUYING_TOKEN_STORE, WUYING_TOKEN_STORE_PASSWORD and WUYING_TOKEN_STORE_KEY contain its URL, password and key.
- name: Move all sessions from a directory, after everything that uses it was stopped
  wuying.workspace.wuying_login_tokens:
    copy_from:
      store: "{{ old_store }}"
  delegate_to: localhost
  become: false
"""

RETURN = r"""
counts:
  description:
    - The number of sessions by outcome. The total is the sum of RV(counts.refreshed), RV(counts.logged_in), RV(counts.unchanged),
      RV(counts.not_refreshed), RV(counts.failed), and RV(counts.copied).
  returned: unless an option is invalid or the store cannot be used
  type: dict
  contains:
    total:
      description:
        - All processed sessions, all records that cannot be read, each node of a Redis Cluster whose sessions cannot be listed, and each account whose
          entry cannot be copied or re-encrypted.
      type: int
      sample: 2000
    refreshed:
      description: Sessions whose token was refreshed and saved.
      type: int
      sample: 1200
    logged_in:
      description: Sessions whose new token comes from a login, with a password or with a stored keep-alive token.
      type: int
      sample: 4
    unchanged:
      description: Sessions whose stored token was current. With O(copy_from), sessions whose token in O(store) is the same or newer.
      type: int
      sample: 786
    not_refreshed:
      description: Sessions whose token could not be refreshed, but whose stored token is still valid. They show an outage before it costs a token.
      type: int
      sample: 7
    failed:
      description: Sessions that failed, including those whose new token could not be saved, and other entries that could not be read or written.
      type: int
      sample: 3
    login_needed:
      description: Failed sessions whose users must log in again.
      type: int
      sample: 1
    warned:
      description: Sessions with a warning, including those of RV(counts.not_refreshed).
      type: int
      sample: 7
    rekeyed:
      description: Records of sessions and entries of accounts that were re-encrypted with the first key in O(store_key).
      type: int
      sample: 0
    copied:
      description: Sessions whose record was copied. Only returned with O(copy_from).
      type: int
      sample: 0
    accounts:
      description: Number of copied account entries (blocked now or in the last 30 days). Only returned with O(copy_from).
      type: int
      sample: 0
sessions:
  description:
    - The results of the sessions that O(results) selects, in the order of O(sessions).
    - If a node of a Redis Cluster cannot be used, its sessions are unknown. A single entry without a session or a key stands for all of them.
  returned: unless an option is invalid or the store cannot be used
  type: list
  elements: dict
  contains:
    session:
      description: The identity of the session. Not returned if its record cannot be read.
      type: dict
      sample: {end_user_id: alice}
    key:
      description: The key of the record in the store. Only returned if the record cannot be read. That of an account begins with C(account-).
      type: str
      sample: 0c6c1e5b0f7e0d3f2f1b8f6f0f6e7a4d6f9d2c1b0a9f8e7d6c5b4a3f2e1d0c9b
    changed:
      description: Whether the token was refreshed, the session logged in, or its record copied.
      type: bool
      sample: true
    failed:
      description: Whether the session failed. V(false) if its stored token was returned because it could not be refreshed.
      type: bool
      sample: false
    login_needed:
      description: Whether the user must log in again, as in M(wuying.workspace.wuying_login_token).
      type: bool
      sample: false
    source:
      description:
        - The origin of the token. V(store) if it was read from the store, V(refresh) if this task refreshed it, V(login) if this task
          logged in, and V(copy) if this task copied it.
      type: str
      sample: refresh
    session_id:
      description: The service's ID of the login that the token comes from. Null if it is not known.
      type: str
      sample: cd45e873-650d-4d70-acb9-f996187a0000
    stays_logged_in:
      description: Whether the session can repair itself, because a keep-alive token is stored.
      type: bool
      sample: true
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
    login_token:
      description: The current token. Only returned with O(return_token=true) or if it could not be saved.
      type: str
      sample: v1c27bab6c205b2fdfac9****
    kept:
      description: V(false) if a new token was obtained but could not be saved. The session counts as failed, and this result contains the only copy.
      type: bool
      sample: false
    rekeyed:
      description: V(true) if the record was re-encrypted with the first key in O(store_key).
      type: bool
      sample: true
    warnings:
      description: The warnings about this session.
      type: list
      elements: str
      sample: []
    msg:
      description: Why the session failed, or why its token could not be refreshed, and what to do.
      type: str
      sample: >-
        The service rejected the session's login token (InvalidLoginToken). The user must log in again, for example with the playbook
        wuying.workspace.log_in. Or pass password or a new login_token to wuying_login_token.
    error_code:
      description:
        - One of the error codes of M(wuying.workspace.wuying_login_token), or one of the following.
        - V(DamagedRecord) if the record's content is not valid.
        - V(EndpointNotNamed) if the task does not name the endpoint of a session from the store, see O(filters).
        - V(Interrupted) if the task was stopped, or one of its processes was killed, before the session was processed. A process that does
          not finish within 5 seconds after O(deadline) is killed.
        - V(LoginsStopped) if the service refused the first 20 logins of the task and accepted none.
        - V(Unforeseen) for an unexpected error. Run the task again. If the error persists, report it.
      type: str
      sample: InvalidLoginToken
    http_status:
      description: The HTTP status of the service's response.
      type: int
      sample: 400
    request_id:
      description: The service's ID of the request that obtained the token, or of the request that failed.
      type: str
      sample: 1CBAFFAB-B697-4049-A9B1-67E1FC5F0000
    stage:
      description: The stage of the login that failed, as in M(wuying.workspace.wuying_login_token). Only returned if a login failed.
      type: str
      sample: ADPassword
    blocked_until:
      description:
        - The time in UTC before which no login with the same secret is sent. Only returned if a login has to wait.
      type: str
      sample: "2026-01-31T09:00:00Z"
    retryable:
      description: Whether the session can succeed later without changes.
      type: bool
      sample: false
msg:
  description:
    - How many sessions failed for which reasons, with a few names for each of the most frequent error codes. At most 2 KiB long.
  returned: failure
  type: str
  sample: "12 of 2,000 sessions failed. SessionEnded: 12 (alice, bob, carol and 9 more). The session has ended because [...]"
error_code:
  description:
    - The most frequent error code of the sessions that failed, or that of an error that concerns the whole task.
  returned: failure
  type: str
  sample: InvalidLoginToken
retryable:
  description:
    - Whether all errors are temporary, so that the same task can succeed later without changes.
  returned: failure
  type: bool
  sample: false
"""

import contextlib
import time
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import TokenRequest
from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import (
    MAX_PARALLEL,
    Report,
    keep_all,
    read_requested,
    read_stored,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import (
    argument_spec,
    login_spec,
    session_spec,
    store_spec,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet import (
    FleetResult,
    read_requests,
    read_selection,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.module import Module
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import read_number
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.progress import Progress
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.selection import (
    read_account_selection,
    read_named_endpoints,
    refuse_unnamed,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_keeper

Requests = t.Optional[t.List[TokenRequest]]
"""The requests for the sessions in ``sessions``. None stands for the sessions of the store."""


def main() -> None:
    """Run the module."""
    spec = argument_spec(one_session=False)
    spec["deadline"]["default"] = 900.0
    own = login_spec()
    module = Module(
        argument_spec={
            **spec,
            "sessions": {
                "type": "list",
                "elements": "dict",
                "options": {**session_spec(), **own, "stay_logged_in": {"type": "bool"}},
            },
            "filters": {"type": "dict"},
            "stay_logged_in": own["stay_logged_in"],
            "force": {"type": "bool", "default": False},
            "max_parallel": {"type": "int", "default": MAX_PARALLEL},
            "max_qps": {"type": "float"},
            "return_token": {"type": "bool", "default": False, "no_log": False},
            "results": {"type": "str", "default": "failed", "choices": ["failed", "all", "none"]},
            "fail_on": {"type": "str", "default": "any", "choices": ["any", "all", "none"]},
            "rekey": {"type": "bool", "default": False, "no_log": False},
            "copy_from": {"type": "dict", "options": store_spec(required=True)},
        },
        mutually_exclusive=[("sessions", "filters")],
        supports_check_mode=True,
    )
    module.execute(lambda: finish(module, run(module)))


def run(module: Module) -> FleetResult:
    """Return the results of all sessions. Raises :class:`WuyingError` if no session can be processed."""
    params, get_option = module.params, module.params.get
    check_options(params)
    requests = None if params["sessions"] is None else read_requests(get_option, params["sessions"])
    if params["store"] == "none":
        check_distinct(requests or [])
    source = params["copy_from"]
    results = "all" if params["return_token"] else params["results"]
    result = FleetResult(results, return_token=params["return_token"], copies=source is not None)
    progress = Progress(module.log)
    with contextlib.closing((keep if source is None else copy)(module, requests, progress)) as reports:
        for report in reports:
            result.add(report, time.time())
            progress.step(result.counts)
    progress.end(result.counts)
    if requests is None and not result.counts["total"]:
        place, option = ("the store", "store") if source is None else ("copy_from", "copy_from.store")
        module.warn(f"No session in {place} was selected. Check {option}, filters and the user who runs the task.")
    return result


def keep(module: Module, requests: Requests, progress: Progress) -> t.Generator[Report, None, None]:
    """Keep sessions valid. Raises :class:`WuyingError` if no session can be processed."""
    params, get_option = module.params, module.params.get
    max_parallel = read_max_parallel(params)
    max_qps = None if params["max_qps"] is None else read_number(get_option, "max_qps", 0.001, 1e6)
    select, named = read_selection(get_option), read_named_endpoints(get_option)
    with open_keeper(get_option, module.warn, connections=max_parallel, max_qps=max_qps) as keeper:
        store = keeper.store
        yield from keep_all(
            keeper,
            refuse_unnamed(read_stored(store, select), named) if requests is None else read_requested(store, requests),
            max_parallel=max_parallel,
            one_process=max_qps is not None,  # A limit applies to all requests only within one process.
            rekey=params["rekey"],
            check=module.check_mode,
            begin=progress.begin,
        )
        if params["rekey"]:
            from ansible_collections.wuying.workspace.plugins.module_utils._keeper.accounts import reencrypt_accounts

            yield from reencrypt_accounts(keeper, read_account_selection(get_option, requests), check=module.check_mode)


def copy(module: Module, requests: Requests, progress: Progress) -> t.Generator[Report, None, None]:
    """Copy sessions and the entries of their accounts. Raises :class:`WuyingError` if the stores cannot be used."""
    # Imported here, because few tasks copy.
    from ansible_collections.wuying.workspace.plugins.module_utils._keeper.accounts import copy_accounts
    from ansible_collections.wuying.workspace.plugins.module_utils._keeper.copy import copy_sessions
    from ansible_collections.wuying.workspace.plugins.module_utils._plugin.copying import open_copy

    params, get_option, check = module.params, module.params.get, module.check_mode
    max_parallel = read_max_parallel(params)
    select, accounts = read_selection(get_option), read_account_selection(get_option, requests)
    with open_copy(get_option, params["copy_from"], module.warn) as (source, target):
        # Accounts come first, so that no session is in the target before the waits of its account.
        yield from copy_accounts(source, target.store, accounts, deadline=target.deadline, check=check)
        progress.begin(sum(map(bool, source.keys())) if requests is None else len(requests))
        readings = read_stored(source, select) if requests is None else read_requested(source, requests)
        yield from copy_sessions(readings, source.name, target, max_parallel=max_parallel, check=check)


def read_max_parallel(params: dict[str, t.Any]) -> int:
    """Return the number of sessions to process at a time. Raises :class:`OptionError`."""
    return int(read_number(params.get, "max_parallel", 1, 256))


def check_options(params: dict[str, t.Any]) -> None:
    """Check options that depend on each other. Raises :class:`OptionError`."""
    if params["store"] == "none" and (params["sessions"] is None or not params["return_token"]):
        raise OptionError("store=none needs sessions and return_token=true, because nothing is stored.")
    if params["rekey"] and not params["store_key"]:
        raise OptionError("rekey requires store_key. Put the key that all records should use first.")
    if params["copy_from"] is not None:
        if "none" in (params["store"], params["copy_from"]["store"]):
            raise OptionError("copy_from needs two stores. Set store and copy_from.store to directories or Redis URLs.")
        for name in ("force", "rekey", "return_token"):
            if params[name]:
                raise OptionError(
                    f"{name} cannot be combined with copy_from, because a copy sends no request and returns no token."
                )


def check_distinct(requests: list[TokenRequest]) -> None:
    """Check that no session is requested twice. Raises :class:`OptionError`."""
    if len({request.session for request in requests}) < len(requests):
        raise OptionError(
            "sessions contains a session twice, but store=none does not store the token of its first refresh. "
            "Remove one of the two entries."
        )


def finish(module: Module, sessions: FleetResult) -> None:
    """Exit with the result of the task."""
    for warning in sessions.warnings():
        module.warn(warning)
    result = sessions.as_result()
    failure = sessions.failure(module.params["fail_on"], filtered=bool(module.params["filters"]))
    if failure is not None:
        module.fail_json(**failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
