#!/bin/sh
# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Finishes the root of a host of the test bed; runs in a chroot of it, after the
# machine's apt sources, settings and CA certificates were put in place.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

update-ca-certificates >/dev/null
# The lists stay in the image: a host then installs a package without an update first.
apt-get -q update
apt-get -q -y dist-upgrade
apt-get clean

echo 'LANG=C.UTF-8' >/etc/default/locale

# Ansible comes in through podman. Host keys in an image would be shared by all hosts.
systemctl disable ssh.service ssh.socket 2>/dev/null
rm -f /etc/ssh/ssh_host_*

# They would hold apt's lock at a moment no test can foresee, or work on the machine's disks.
systemctl mask apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer

# Every host sees the machine's one console: the second to open it would start with a failed unit.
systemctl mask getty@tty1.service console-getty.service

# Each host makes its own at its first boot.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/hostname
