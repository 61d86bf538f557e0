#!/bin/sh
# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Puts the task image's root together, inside a host of the bed: the Debian packages
# named as arguments and all they depend on, and the wheels in /wheels. Writes /out/root.tar.gz.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
recipe=$(dirname "$0")
root=/tmp/root

# With an empty status apt takes the dependencies too that this host has already.
mkdir -p "$root" /tmp/debs/partial
cd /tmp/debs
: >/tmp/status
apt-get -q update
apt-get -q -y -o Dir::State::status=/tmp/status -o Dir::Cache::archives=/tmp/debs -o APT::Sandbox::User=root \
    --no-install-recommends --download-only install "$@"
for package in *.deb; do
    dpkg-deb --extract "$package" "$root"
done

python=$(basename "$root"/usr/lib/python3.*)
packages=$root/usr/local/lib/$python/dist-packages

# What the packages' own scripts would write.
printf '%s\n' root:x:0:0:root:/root:/bin/sh flytekit:x:1000:1000::/home/flytekit:/bin/sh >"$root/etc/passwd"
printf '%s\n' root:x:0: flytekit:x:1000: >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

# pip comes as a wheel, which runs where it lies, so that the image has none.
apt-get -q download python3-pip-whl
dpkg-deb --extract python3-pip-whl_*.deb /tmp/pip
mkdir "$root/build"
cp -r /wheels "$recipe/requirements.txt" "$root/build"
cp /tmp/pip/usr/share/python-wheels/pip-*.whl "$root/build/pip.whl"
in_root() { chroot "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 PYTHONHASHSEED=0 "$@"; }
in_root PYTHONPATH=/build/pip.whl PYTHONDONTWRITEBYTECODE=1 python3 -m pip install --quiet --no-index --no-deps \
    --find-links=/build/wheels --require-hashes --requirement=/build/requirements.txt \
    --no-compile --no-warn-script-location --break-system-packages --root-user-action=ignore
rm -r "$root/build"

# What no task reads. Of AWS's services flytekit calls S3 and those that give credentials.
for part in doc man info locale lintian bug; do
    rm -rf "$root/usr/share/$part"
done
rm -rf "$root/usr/lib/x86_64-linux-gnu/gconv" "$root"/var/lib/dpkg "$root"/var/cache/*
find "$packages" -depth -type d \( -name tests -o -name test \) -exec rm -r {} +
find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name sts ! -name sso ! -name sso-oidc -exec rm -r {} +

# Compiled beforehand: a task of half a CPU would take longer over it than over its work, and throw it away.
# By unchecked hash, as the archive has no times that could agree.
in_root python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3 "/usr/lib/$python" /usr/local/lib

chown 1000:1000 "$root/root" "$root/home"
chmod 0755 "$root/root"
# Compressed it takes a moment longer to import the first time, and a third to copy, check and import again.
tar --create --directory="$root" --sort=name --mtime=@0 --numeric-owner . | gzip -n >/out/root.tar.gz
