# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the certificates that a start of k3s would renew and that end soon. Runs on hosts, with Python alone.

Arguments: days, k3s's own days before the end from which on a start renews, when k3s was started, files.
"""

import base64
import calendar
import os
import re
import sys
import time

DAY = 86400
# The two times of a validity, one behind the other, as UTCTime or GeneralizedTime.
VALIDITY = re.compile(rb"(?:\x17\x0d|\x18\x0f)[0-9]+Z(?:\x17\x0d|\x18\x0f)([0-9]+)Z")

days, renewal, started = (int(argument) for argument in sys.argv[1:4])
for path in sys.argv[4:]:
    with open(path) as stream:
        found = re.search("-----BEGIN CERTIFICATE-----(.*?)-----END", stream.read(), re.DOTALL)
    validity = VALIDITY.search(base64.b64decode(found[1])) if found else None
    if not validity:
        continue
    end = calendar.timegm(time.strptime(validity[1].decode()[-12:], "%y%m%d%H%M%S"))
    # What the last start has left alone although it had not long to go, no start renews: k3s does not use it.
    unused = end - started < renewal * DAY and os.stat(path).st_mtime < started
    if end < time.time() + days * DAY and not unused:
        left = int((end - time.time()) // DAY)
        sys.stdout.write(f"{path} ends on {time.strftime('%Y-%m-%d', time.gmtime(end))} (days left: {left})\n")
