# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How the service is asked: credentials, signature, time, TLS and proxy."""

    DOCUMENTATION = r"""
options:
  auth_method:
    description:
      - Where the credentials come from. They are needed only when an exchange is due.
      - V(access_key) takes O(access_key_id), O(access_key_secret) and O(security_token), or, where none of the three is given,
        the environment variables E(ALIBABA_CLOUD_ACCESS_KEY_ID), E(ALIBABA_CLOUD_ACCESS_KEY_SECRET) and
        E(ALIBABA_CLOUD_SECURITY_TOKEN). The two sets are never mixed.
      - V(provider_chain) asks the Python package C(alibabacloud-credentials), which knows OIDC roles, the
        configuration files of the official tools, the RAM role of an instance and a credentials URI.
      - V(anonymous) does not sign the request. The service's published API description allows this.
    type: str
    choices: [access_key, provider_chain, anonymous]
    default: access_key
  access_key_id:
    description:
      - The ID of the access key that signs the request. Its RAM user or role needs the action C(ecd:RefreshLoginToken).
      - O(access_key_id) and O(access_key_secret) go together.
    type: str
  access_key_secret:
    description:
      - The secret of the access key.
    type: str
  security_token:
    description:
      - The security token, where the access key is a temporary one of STS.
    type: str
  signature_version:
    description:
      - How the request is signed, V(v3) for C(ACS3-HMAC-SHA256) or V(v1) for C(HMAC-SHA1).
    type: str
    choices: [v3, v1]
    default: v3
  timeout:
    description:
      - How many seconds (up to 86400) one attempt may take in full, from the look-up of the name to the last byte of the answer.
    type: float
    default: 10.0
  retries:
    description:
      - How many more attempts (0 to 100) follow a transient fault. Before each there is a random wait of at most 0.5, 1, 2, up to 16
        seconds, on top of what the service asks for. A request that is repeated because the clock is off does not count.
    type: int
    default: 3
  deadline:
    description:
      - How many seconds (up to 86400) everything may take together, waiting for another task's exchange of the same session, all
        attempts and, in a lookup, all terms included. Then a token that still lives is served with a warning, or the task fails.
      - No attempt begins in the last second, or in the last tenth of O(timeout) where that is shorter, for one that is cut off may cost the token.
    type: float
    default: 60.0
  validate_certs:
    description:
      - Whether the TLS certificate of the endpoint is verified, V(true) or V(false). Turn this off for tests only.
    type: bool
    default: true
  ca_path:
    description:
      - A file or directory of CA certificates to verify the endpoint with.
      - Without it the environment variables E(REQUESTS_CA_BUNDLE) and E(CURL_CA_BUNDLE) count, then the certificates that come
        with the Python package C(requests).
    type: path
  proxy:
    description:
      - The URL of an HTTP proxy, with a scheme, a host and nothing else but a port, so without user name and password.
      - Only V(http://) proxies are supported. The connection through the proxy to the endpoint is encrypted.
      - Without it the usual environment variables (E(HTTPS_PROXY), E(NO_PROXY) and so on) count. Loopback addresses are
        never reached by proxy.
    type: str
requirements:
  - requests, on the host that runs this plugin, once an exchange is due
  - alibabacloud-credentials, for O(auth_method=provider_chain) only
"""

    LOOKUP = r"""
options:
  auth_method:
    vars:
      - name: wuying_auth_method
    ini:
      - section: wuying_login_token_lookup
        key: auth_method
  access_key_id:
    vars:
      - name: wuying_access_key_id
    ini:
      - section: wuying_login_token_lookup
        key: access_key_id
  access_key_secret:
    vars:
      - name: wuying_access_key_secret
  security_token:
    vars:
      - name: wuying_security_token
  signature_version:
    vars:
      - name: wuying_signature_version
    ini:
      - section: wuying_login_token_lookup
        key: signature_version
  timeout:
    vars:
      - name: wuying_timeout
    ini:
      - section: wuying_login_token_lookup
        key: timeout
  retries:
    vars:
      - name: wuying_retries
    ini:
      - section: wuying_login_token_lookup
        key: retries
  deadline:
    vars:
      - name: wuying_deadline
    ini:
      - section: wuying_login_token_lookup
        key: deadline
  # Core would take whatever it does not know for false. The plugin reads the option by the strict rules that modules have.
  validate_certs:
    type: raw
    vars:
      - name: wuying_validate_certs
    ini:
      - section: wuying_login_token_lookup
        key: validate_certs
  ca_path:
    vars:
      - name: wuying_ca_path
    ini:
      - section: wuying_login_token_lookup
        key: ca_path
  proxy:
    vars:
      - name: wuying_proxy
    ini:
      - section: wuying_login_token_lookup
        key: proxy
"""
