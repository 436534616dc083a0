#!/usr/bin/python

# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wuying_login_tokens
author:
  - The wuying.workspace authors (@wuying-workspace)
short_description: Keep the login tokens of many WUYING Workspace sessions current
version_added: 0.1.0
description:
  - Does for many sessions in one task what M(wuying.workspace.wuying_login_token) does for one, and much faster than a loop over
    that module. Ensures that each session's login token is current, and exchanges side by side those that are not, the one that
    expires first before the others.
  - With O(sessions) it takes these sessions. Without, it takes all that the store has a record of and that O(filters) let through. That is
    the scheduled keep-alive of a fleet.
  - One session's failure never stops the others. RV(sessions) says how each fared.
  - For a keep-alive to work, O(refresh_before) must be at least the interval of the schedule plus the time that a run takes. It counts as
    at most half of O(validity). With the default validity of 15 minutes run it every 4 minutes.
  - The module runs where the task runs, with the store, the environment and the Python packages of that host and that user. Normal
    use is C(delegate_to=localhost) with C(become=false).
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
      - Predicts for each session from its record, sends and writes nothing.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - A second run changes nothing while all tokens are current.
      - With O(store=none) every run exchanges.
options:
  end_user_id:
    description:
      - The end user of those O(sessions) that name none.
    type: str
  sessions:
    description:
      - The sessions to keep current, each a dictionary, also where it has O(sessions[].end_user_id) alone. What one lacks comes from the options
        of the task.
      - Without it, all sessions of the store that O(filters) let through. Then the options of the task that name a session have no effect, so
        C(module_defaults) may have them.
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
      session_id:
        description: The identifier of this session.
        type: str
      endpoint:
        description: The URL of the service for this session.
        type: str
      login_token:
        description:
          - The token to start this session from, as for M(wuying.workspace.wuying_login_token). Needed once for each session.
          - At most 1,000 sessions may carry one, because the time that Ansible takes to hide secrets grows with the square of
            their number. Start a larger fleet in several tasks.
        type: str
  filters:
    description:
      - Which sessions of the store to take, as a dictionary of O(region_id), O(client_id), O(office_site_id), O(end_user_id), O(directory_id),
        O(session_id) and O(endpoint), each with a text or a list of texts, of which one must be the session's own.
      - Goes without O(sessions) only. A record that cannot be read is reported as failed whatever the filters.
    type: dict
  max_parallel:
    description:
      - How many sessions (1 to 256) are exchanged at a time, each over a connection of its own.
      - On Linux several processes share them where there is much to do, at most one more than there are processors, one for each 2 of these, and one
        for each 100 sessions that are due.
    type: int
    default: 8
  max_qps:
    description:
      - How many requests a second this task sends at most. Other tasks and hosts count for themselves.
      - Without it as many as O(max_parallel) allows. When the service throttles, all slow down together, and speed up again as it lets
        them.
    type: float
  deadline:
    description:
      - How many seconds (up to 86400) the whole task may take. Sessions whose turn has not come by then are served with a warning
        where their tokens live, and otherwise fail with C(error_code=DeadlineExceeded).
    type: float
    default: 900.0
  return_token:
    description:
      - Whether the sessions of the result have their C(login_token). Better look tokens up where they are used, with the lookup
        P(wuying.workspace.wuying_login_token#lookup).
      - O(store=none) needs V(true).
    type: bool
    default: false
  results:
    description:
      - Which sessions RV(sessions) has.
      - V(failed) those that failed, and those that were served with a warning.
      - V(all) all of them; V(none) none. A token that was exchanged and could not be kept is there in any case.
      - With O(return_token=true) all of them are there, whatever is said here.
    type: str
    choices: [failed, all, none]
    default: failed
  fail_on:
    description:
      - When the task fails, V(any) session failed, V(all) of them failed (and there was one), or V(none), which is never.
    type: str
    choices: [any, all, none]
    default: any
  rekey:
    description:
      - Whether records that the first key of O(store_key) does not protect are written anew under it. Needs O(store_key).
    type: bool
    default: false
notes:
  - With O(return_token=true) a registered result has tokens in the clear. Set C(no_log=true) on the task.
  - C(ANSIBLE_DEBUG) makes Ansible itself print options and results of a task, secrets included. Use it for no real session.
  - C(async) leaves the result of a task in a job file. Combine it with O(return_token=false) only.
seealso:
  - module: wuying.workspace.wuying_login_token
    description: Keeps one session current, forces an exchange, forgets a session.
  - module: wuying.workspace.wuying_login_token_info
    description: Lists what the store holds.
  - plugin: wuying.workspace.wuying_login_token
    plugin_type: lookup
    description: Puts current tokens where they are used.
"""

EXAMPLES = r"""
---
# Credentials come from the environment variables ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET.
- name: Start the sessions of those who have logged in
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

- name: Keep every session of the store current
  wuying.workspace.wuying_login_tokens:
    max_qps: 50
  delegate_to: localhost
  become: false

- name: Keep those of one office network current, and go on when some users have to log in again
  wuying.workspace.wuying_login_tokens:
    filters:
      office_site_id: cn-hangzhou+dir-2381912345
    fail_on: all
  delegate_to: localhost
  become: false
  register: fleet

- name: Say who has to log in again
  ansible.builtin.debug:
    msg: "{{ item.session.end_user_id }}: {{ item.msg }}"
  loop: "{{ fleet.sessions | selectattr('failed') }}"
  loop_control:
    label: "{{ item.session.end_user_id }}"
"""

RETURN = r"""
counts:
  description:
    - How many sessions fared how.
  returned: unless an option is wrong or the store cannot be used
  type: dict
  contains:
    total:
      description: All sessions that were asked for.
      type: int
      sample: 2000
    exchanged:
      description: Those whose tokens were exchanged and kept.
      type: int
      sample: 1200
    served:
      description: Those whose records were served. With those that were exchanged and those that failed they make the total.
      type: int
      sample: 797
    failed:
      description: Those that failed, also where a token was exchanged and could not be kept.
      type: int
      sample: 3
    warned:
      description: Those with a warning, such as a stale token that is served while the service does not answer.
      type: int
      sample: 0
    rekeyed:
      description: Those whose records were written anew under the first key of O(store_key).
      type: int
      sample: 0
sessions:
  description:
    - How the sessions fared that O(results) asks for, in the order in which they were asked for.
  returned: unless an option is wrong or the store cannot be used
  type: list
  elements: dict
  contains:
    session:
      description: The identity of the session. Missing where a record cannot be read.
      type: dict
      sample: {end_user_id: alice}
    key:
      description: The key of a record that cannot be read.
      type: str
      sample: 0c6c1e5b0f7e0d3f2f1b8f6f0f6e7a4d6f9d2c1b0a9f8e7d6c5b4a3f2e1d0c9b
    changed:
      description: Whether the token was exchanged.
      type: bool
      sample: true
    failed:
      description: Whether the session failed.
      type: bool
      sample: false
    source:
      description: Whether the token came from an exchange (V(service)) or from the record (V(store)).
      type: str
      sample: service
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
    login_token:
      description: The current token, where O(return_token=true) or C(kept=false).
      type: str
      sample: v1c27bab6c205b2fdfac9****
    kept:
      description: V(false) where a token was exchanged but could not be kept. The session counts as failed and its token is the only copy.
      type: bool
      sample: false
    rekeyed:
      description: V(true) where the record was written anew under the first key.
      type: bool
      sample: true
    warnings:
      description: What there is to say of this session.
      type: list
      elements: str
      sample: []
    msg:
      description: Why the session failed.
      type: str
      sample: "The service refused the session's login token (InvalidLoginToken). The user must log in again; pass the new token as login_token."
    error_code:
      description:
        - As of M(wuying.workspace.wuying_login_token), and V(DamagedRecord), V(Interrupted) (the task was told to stop, or a process of it died,
          before the session was done) and V(Unforeseen) (a bug, report it).
      type: str
      sample: InvalidLoginToken
    http_status:
      description: The HTTP status of the service's answer.
      type: int
      sample: 400
    request_id:
      description: The service's ID of the exchange that brought the token, or of the request that failed.
      type: str
      sample: 1CBAFFAB-B697-4049-A9B1-67E1FC5F0000
    retryable:
      description: Whether the same may succeed later without anything being changed.
      type: bool
      sample: false
error_code:
  description:
    - The error code of the first session that failed, or what is wrong with the task.
  returned: failure
  type: str
  sample: InvalidLoginToken
retryable:
  description:
    - Whether all that failed may succeed later without anything being changed.
  returned: failure
  type: bool
  sample: false
"""

import time
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.fleet import (
    MAX_PARALLEL,
    keep_all,
    read_requested,
    read_stored,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import (
    argument_spec,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet_options import (
    read_requests,
    read_selection,
    sessions_spec,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.fleet_result import Summary
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.module import Module
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.option_values import (
    read_number,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_keeper


def main() -> None:
    """Run the module."""
    spec = argument_spec(one_session=False)
    spec["deadline"]["default"] = 900.0
    module = Module(
        argument_spec={
            **spec,
            **sessions_spec(),
            "filters": {"type": "dict"},
            "max_parallel": {"type": "int", "default": MAX_PARALLEL},
            "max_qps": {"type": "float"},
            "return_token": {"type": "bool", "default": False, "no_log": False},
            "results": {"type": "str", "default": "failed", "choices": ["failed", "all", "none"]},
            "fail_on": {"type": "str", "default": "any", "choices": ["any", "all", "none"]},
            "rekey": {"type": "bool", "default": False, "no_log": False},
        },
        mutually_exclusive=[("sessions", "filters")],
        supports_check_mode=True,
    )
    module.execute(lambda: finish(module, run(module)))


def run(module: Module) -> Summary:
    """Do what the task asks. Raises :class:`WuyingError` where nothing can be done at all."""
    params = module.params
    check_options(params)
    get_option = params.get
    max_parallel = int(read_number(get_option, "max_parallel", 1, 256))
    max_qps = None if params["max_qps"] is None else read_number(get_option, "max_qps", 0.001, 1e6)
    requests = None if params["sessions"] is None else read_requests(get_option, params["sessions"])
    if params["store"] == "none" and len({request.session for request in requests or ()}) < len(requests or ()):
        raise OptionError("sessions names a session twice: store=none keeps no token for the second time.")
    select = read_selection(get_option)
    results = "all" if params["return_token"] else params["results"]
    summary = Summary(results, return_token=params["return_token"])
    with open_keeper(get_option, module.warn, connections=max_parallel, max_qps=max_qps) as keeper:
        store = keeper.store
        for report in keep_all(
            keeper,
            read_stored(store, select) if requests is None else read_requested(store, requests),
            max_parallel=max_parallel,
            rekey=params["rekey"],
            check=module.check_mode,
        ):
            summary.add(report, time.time())
    if requests is None and not summary.counts["total"]:
        module.warn("The store has no session to keep current: check store, filters and the user who runs the task.")
    return summary


def check_options(params: dict[str, t.Any]) -> None:
    """Refuse options that do not go together. Raises :class:`OptionError`."""
    if params["store"] == "none" and (params["sessions"] is None or not params["return_token"]):
        raise OptionError("store=none keeps nothing: it needs sessions and return_token=true.")
    if params["rekey"] and not params["store_key"]:
        raise OptionError("rekey needs store_key, whose first key is to protect all records.")


def finish(module: Module, summary: Summary) -> None:
    """Leave with the result of all sessions."""
    result = summary.result()
    if summary.warning:
        module.warn(summary.warning)
    if summary.tokens:
        module.uncensor(summary.tokens)
    failure = summary.failure(module.params["fail_on"])
    if failure is not None:
        module.fail_json(**failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
