# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test one-time codes with the vectors of the RFCs, and that only usable secrets are accepted."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._model.totp import (
    STEP,
    compute_code,
    read_secret,
)

KEY = b"12345678901234567890"
"""The key of the vectors in both RFCs."""
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
SHORT_KEY, SHORT_SECRET = b"Hello!\xde\xad\xbe\xef", "JBSWY3DPEHPK3PXP"


@pytest.mark.parametrize(
    ("time", "code_of_8_digits"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(time, code_of_8_digits):
    assert compute_code(KEY, time // STEP) == code_of_8_digits[2:]


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (0, "755224"),
        (1, "287082"),
        (2, "359152"),
        (3, "969429"),
        (4, "338314"),
        (5, "254676"),
        (6, "287922"),
        (7, "162583"),
        (8, "399871"),
        (9, "520489"),
    ],
)
def test_codes_are_those_of_rfc_4226(step, code):
    assert compute_code(KEY, step) == code


def test_a_code_has_leading_zeros():
    codes = [compute_code(KEY, step) for step in range(1000)]
    assert all(len(code) == 6 and code.isdigit() for code in codes)
    assert any(code.startswith("0") for code in codes)


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        SECRET.lower(),
        "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ",
        "gezd-gnbv-gy3t-qojq-gezd-gnbv-gy3t-qojq",
        f"  {SECRET}\t",
        "Gezd\u00a0gnbv\u2003gy3t qojq GEZDGNBVGY3TQOJQ",
    ],
)
def test_case_spaces_and_dashes_of_a_secret_do_not_matter(text):
    assert read_secret(text) == KEY


@pytest.mark.parametrize("length", range(1, 41))
def test_padding_may_be_missing_partial_or_complete(length):
    key = bytes(range(length))
    text = base64.b32encode(key).decode()
    bare = text.rstrip("=")
    for padded in (text, bare, bare + "=" * ((len(text) - len(bare)) // 2)):
        assert read_secret(padded) == key
        assert read_secret(f"otpauth://totp/alice?secret={padded}") == key


@pytest.mark.parametrize(
    "uri",
    [
        f"otpauth://totp/alice?secret={SHORT_SECRET}",
        f"otpauth://totp/Example:alice@example.com?secret={SHORT_SECRET}&issuer=Example",
        f"otpauth://totp/a%20b?issuer=x%26y&secret={SHORT_SECRET}&algorithm=SHA1&digits=6&period=30",
        f"otpauth://totp/?secret={SHORT_SECRET}&algorithm=sha-1",
        f"otpauth://totp?secret={SHORT_SECRET}",
        f"OTPAUTH://TOTP/alice?SECRET={SHORT_SECRET.lower()}&Digits=6&PERIOD=30&Algorithm=Sha1",
        "otpauth://totp/alice?secret=jbsw%20y3dp+ehpk-3pxp&image=https%3A%2F%2Fexample.com",
    ],
)
def test_a_uri_is_accepted_with_the_usual_parameters(uri):
    assert read_secret(uri) == SHORT_KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "====",
        "-",
        "A",
        "ABC",
        "ABCDEF",
        "JBSWY3DPEHPK3PX1",
        "JBSWY3DPEHPK3PX0",
        "JBSWY3DPEHPK3PX8",
        "JBSWY3DP=EHPK3PXP",
        "JBSWY3DPEHPK3PXé",
        "ＪＢＳＷＹ３ＤＰ",
        "123456",
        "https://example.com/?secret=JBSWY3DPEHPK3PXP",
        "otpauth://hotp/alice?secret=JBSWY3DPEHPK3PXP&counter=1",
        "otpauth://steam/alice?secret=JBSWY3DPEHPK3PXP",
        "otpauth:totp/alice?secret=JBSWY3DPEHPK3PXP",
        "otpauth:///totp/alice?secret=JBSWY3DPEHPK3PXP",
        "otpauth://totp/alice",
        "otpauth://totp/alice?secret=",
        "otpauth://totp/alice?secret=not-base32!",
        "otpauth://totp/alice#secret=JBSWY3DPEHPK3PXP",
        "otpauth://[/alice?secret=JBSWY3DPEHPK3PXP",
        "otpauth-migration://offline?data=CjEKCkhlbGxvId6tvu8SGA",
    ],
)
def test_anything_else_is_refused_without_repeating_it(text):
    with pytest.raises(OptionError) as caught:
        read_secret(text)
    assert caught.value.message.startswith(
        "totp_secret must be a secret in base32, or a URI that begins with otpauth://totp/"
    )
    assert "JBSW" not in caught.value.message


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("algorithm=SHA256", "algorithm"),
        ("algorithm=SHA512", "algorithm"),
        ("algorithm=MD5", "algorithm"),
        ("algorithm=SHA11", "algorithm"),
        ("digits=8", "digits"),
        ("digits=7", "digits"),
        ("digits=six", "digits"),
        ("period=60", "period"),
        ("period=15", "period"),
        ("Period=60", "period"),
        ("period=30&period=60", "period"),
    ],
)
def test_a_uri_with_another_algorithm_length_or_period_is_refused(parameter, name):
    with pytest.raises(OptionError) as caught:
        read_secret(f"otpauth://totp/alice?secret={SHORT_SECRET}&{parameter}")
    assert f"another {name} than" in caught.value.message
    assert SHORT_SECRET not in caught.value.message


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.text() | st.text().map("otpauth://totp/{}".format) | st.text().map("otpauth://totp/a?secret={}".format))
def test_any_text_is_a_key_or_refused(text):
    with contextlib.suppress(OptionError):
        assert read_secret(text)
