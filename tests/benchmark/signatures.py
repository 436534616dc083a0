# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure how fast requests are signed, compared with the official signer of Alibaba Cloud."""

from __future__ import annotations

import statistics
import time
import typing as t

from ansible_collections.wuying.workspace.plugins.module_utils import signer

SIGNATURES = 5000


def compare(pairs: int) -> None:
    """Print the ratio of signatures per second to the official signers."""
    try:
        from alibabacloud_tea_openapi.utils import Utils
    except ImportError:
        print("SKIPPED: signatures, because alibabacloud-tea-openapi is not installed")
        return
    parameters = {
        "RegionId": "cn-hangzhou",
        "ClientId": "f4a0dc8e-1702-4728-9a60-95b27a350000",
        "OfficeSiteId": "cn-hangzhou+dir-2381912345",
        "EndUserId": "alice",
        "LoginToken": "v1" + "8f" * 64,
    }
    headers = signer.sign_v3("A", "V", parameters, None, 0, "nonce", host="example.com").headers
    call: t.Any = type("Request", (), {})()
    call.method, call.pathname, call.query, call.headers = "POST", "/", parameters, headers
    body_hash = headers["x-acs-content-sha256"]
    signers: list[tuple[str, t.Callable[[], t.Any], t.Callable[[], t.Any]]] = [
        (
            "V1",
            lambda: signer.v1_signature("POST", parameters, "secret"),
            lambda: Utils.get_rpcsignature(parameters, "POST", "secret"),
        ),
        (
            "V3",
            lambda: signer.v3_signature("POST", parameters, headers, "secret"),
            lambda: Utils.get_authorization(call, "ACS3-HMAC-SHA256", body_hash, "id", "secret"),
        ),
    ]
    for version, ours, theirs in signers:
        ratios = [rate(ours) / rate(theirs) for _turn in range(pairs)]
        print(f"{version} signatures a second, ours / the official signer's{'':14} {statistics.median(ratios):.2f}")


def rate(sign: t.Callable[[], t.Any]) -> float:
    """Return the number of signatures per second."""
    start = time.perf_counter()
    for _turn in range(SIGNATURES):
        sign()
    return SIGNATURES / (time.perf_counter() - start)
