#!/bin/sh
# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Find the available Pythons and start jobs.py with the newest of them.
# Each candidate is executed, because a name on PATH may be a stub or lack modules.

about='
import os, sys
from importlib.util import find_spec
version = "%d.%d" % sys.version_info[:2]
real = os.path.join(sys.base_prefix, "bin", "python" + version)
complete = sys.version_info[3] == "final" and find_spec("venv") and find_spec("ensurepip")
if complete and sys.version_info >= (3, 8):
    print(version, real if os.path.exists(real) else sys.executable)
'

candidates() {
    folders=$PATH
    if command -v pyenv >/dev/null 2>&1; then
        for bin in "$(pyenv root)"/versions/*/bin; do
            folders=$folders:$bin
        done
    fi
    IFS=:
    for folder in $folders; do
        case $folder in */shims) continue ;; esac # slow, and found again below "pyenv root"
        for python in "$folder"/python3 "$folder"/python3.[0-9] "$folder"/python3.[0-9][0-9]; do
            [ -x "$python" ] && "$python" -IS -c "$about" </dev/null 2>/dev/null
        done
    done
}

# One line each, "3.13 /path/of/python3.13", newest first; of equal versions the first on PATH.
pythons=$(candidates | sort -s -t . -k 2,2nr | awk '!seen[$1]++')
newest=${pythons%%
*}
case $newest in
3.[89]\ * | 3.10\ * | '')
    echo 'Python 3.11 or newer, with the modules venv and ensurepip, is required on PATH.' >&2
    exit 1
    ;;
esac
PYTHONS=$pythons exec "${newest#* }" "$(dirname "$0")/jobs.py" "$@"
