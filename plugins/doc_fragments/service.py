# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options for requests to the service: credentials, signature, limits, TLS, and proxy."""

    DOCUMENTATION = r"""
options:
  auth_method:
    description:
      - Where to find the credentials that sign requests. They are needed only when a token must be refreshed. Logins are never signed.
      - V(access_key) uses O(access_key_id), O(access_key_secret), and O(security_token). If none of the three is set, the environment
        variables E(ALIBABA_CLOUD_ACCESS_KEY_ID), E(ALIBABA_CLOUD_ACCESS_KEY_SECRET), and E(ALIBABA_CLOUD_SECURITY_TOKEN) are used. Options and
        environment variables are never combined.
      - V(provider_chain) uses the Python package C(alibabacloud-credentials), which supports OIDC roles, the configuration files of the
        official tools, the RAM role of an instance, and a credentials URI.
      - V(anonymous) does not sign requests. The service's published API description allows this.
    type: str
    choices: [access_key, provider_chain, anonymous]
    default: access_key
  access_key_id:
    description:
      - The ID of the access key that signs requests. Its RAM user or role needs permission for the action C(ecd:RefreshLoginToken).
      - Set O(access_key_id) and O(access_key_secret) together.
      - If not set, O(auth_method) determines which credentials are used.
    type: str
  access_key_secret:
    description:
      - The secret of the access key O(access_key_id).
    type: str
  security_token:
    description:
      - The security token of a temporary access key that STS issued. Omit it for a permanent access key.
    type: str
  signature_version:
    description:
      - The signature method for requests. V(v3) is C(ACS3-HMAC-SHA256), and V(v1) is C(HMAC-SHA1).
    type: str
    choices: [v3, v1]
    default: v3
  timeout:
    description:
      - The maximum duration of one attempt in seconds (up to 86400), from name resolution to the last byte of the response.
    type: float
    default: 10.0
  retries:
    description:
      - The number of further attempts (0 to 100) after a transient failure.
      - Before each further attempt, the plugin waits for a random time of at most 0.5, 1, 2, and so on up to 16 seconds, in addition to the
        time that the service asks for.
      - An attempt that is repeated only to correct a clock difference does not count.
    type: int
    default: 3
  deadline:
    description:
      - The maximum duration in seconds (up to 86400) of the whole task or lookup. This includes all attempts, waiting for another task to
        refresh the same session, and in a lookup all terms.
      - When the deadline passes, a stored token that is still valid is returned with a warning, except with C(force) or a new login token,
        which fail. If there is none, the task fails, too.
      - A login begins only if the time that is left is at least O(timeout) per request, and 30 seconds more with a TOTP secret.
      - No attempt begins in the last second, or in the last tenth of O(timeout) if that is shorter, because a request that is cut off can
        cost the token.
    type: float
    default: 60.0
  validate_certs:
    description:
      - Whether to verify the TLS certificate of the endpoint. Use V(false) only for tests. Logins are then sent to loopback addresses only.
      - In the lookup, the variable C(wuying_validate_certs) can disable the verification for loopback endpoints only, because inventories and roles
        can set variables.
    type: bool
    default: true
  ca_path:
    description:
      - The path of a file or directory of CA certificates to verify the endpoint with. C(~) and environment variables in it are expanded.
      - If not set, the environment variable E(REQUESTS_CA_BUNDLE) or E(CURL_CA_BUNDLE) is used.
      - If none of them is set, the certificates that the Python package C(requests) provides are used.
    type: str
  proxy:
    description:
      - The URL of an HTTP proxy. It consists of V(http://), a host, and optionally a port. It cannot contain a user name or password.
      - V(https://) proxies are not supported. The connection through the proxy to the endpoint is encrypted.
      - A proxy is never used for loopback addresses.
      - If not set, the usual environment variables (E(HTTPS_PROXY), E(NO_PROXY), and so on) are used.
      - If none of them is set, no proxy is used.
    type: str
requirements:
  - requests, on the host that runs this plugin, when a token must be refreshed or a user logged in
  - alibabacloud-credentials, only for O(auth_method=provider_chain)
"""

    NO_EFFECT = r"""
options:
  auth_method:
    description:
      - This option has no effect in this module.
  access_key_id:
    description:
      - This option has no effect in this module.
  access_key_secret:
    description:
      - This option has no effect in this module.
  security_token:
    description:
      - This option has no effect in this module.
  signature_version:
    description:
      - This option has no effect in this module.
  timeout:
    description:
      - This option has no effect in this module.
  retries:
    description:
      - This option has no effect in this module.
  validate_certs:
    description:
      - This option has no effect in this module.
  ca_path:
    description:
      - This option has no effect in this module.
  proxy:
    description:
      - This option has no effect in this module.
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
  # ansible-core reads any unknown value in a lookup as false. The plugin applies the strict rules of modules instead.
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
