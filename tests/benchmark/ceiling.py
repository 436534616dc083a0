# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure how long one process needs to send prepared requests and read the responses: the ceiling of one process.

Reads options as JSON from standard input. Prints the duration in seconds.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import typing as t

import requests
from requests.adapters import HTTPAdapter

from ansible_collections.wuying.workspace.plugins.module_utils import signer


def main() -> None:
    """Prepare all requests, then send them over several connections."""
    options = json.load(sys.stdin)
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_maxsize=options["connections"]))
    prepared = [prepare(session, options, *each) for each in options["sessions"]]
    waiting = iter(prepared)  # shared by all threads, because its __next__ is atomic
    statuses: list[int] = []

    def send() -> None:
        for request in waiting:
            statuses.append(session.send(request, timeout=60).status_code)

    threads = [threading.Thread(target=send) for _number in range(options["connections"])]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if statuses != [200] * len(prepared):
        sys.exit("The emulator refused a request.")
    print(seconds)


def prepare(session: requests.Session, options: dict[str, t.Any], user: str, token: str) -> requests.PreparedRequest:
    """Prepare and sign one RefreshLoginToken request."""
    identity, url = options["identity"], options["url"]
    signed = signer.sign_v3(
        "RefreshLoginToken",
        "2020-10-02",
        {
            "RegionId": identity["region_id"],
            "ClientId": identity["client_id"],
            "OfficeSiteId": identity["office_site_id"],
            "EndUserId": user,
            "LoginToken": token,
        },
        signer.Credentials(*options["key"]),
        time.time(),
        os.urandom(16).hex(),
        host=url.partition("://")[2],
    )
    request = requests.Request("POST", f"{url}/?{signed.query}", signed.headers, data=signed.body)
    return session.prepare_request(request)


if __name__ == "__main__":
    main()
