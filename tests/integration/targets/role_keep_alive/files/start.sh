#!/bin/sh
# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Start the command of a unit with its environment, as systemd does: start.sh UNIT CONFIGURATION RUNTIME
set -eu
read_value() {
    sed -n "s#%E#$configuration#g; s#%t#$runtime#g; s/^$1=//p" "$unit"
}
unit=$1 configuration=$2 runtime=$3
mkdir -p "$runtime/$(read_value RuntimeDirectory)"
cd "$(read_value WorkingDirectory)"
umask "$(read_value UMask)"
# shellcheck disable=SC2016,SC2046
exec env -i HOME="$HOME" PATH=/usr/bin:/bin $(read_value Environment) \
    sh -c 'set -a; . "$1"; exec $2' sh "$(read_value EnvironmentFile)" "$(read_value ExecStart)"
