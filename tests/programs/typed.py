"""Runs a command line at a terminal, and ends with its status.

Arguments: the line, what is typed, and after how many seconds that is; what the terminal shows goes
to standard output.
"""

import os
import pty
import select
import sys
import time

line, keys, after_s = sys.argv[1], sys.argv[2].encode(), float(sys.argv[3])
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("bash", ["bash", "-c", line])
at = time.monotonic() + after_s
while True:
    ready, _, _ = select.select([terminal], [], [], max(0, at - time.monotonic()) if keys else None)
    if not ready:
        os.write(terminal, keys)
        keys = b""
        continue
    try:
        shown = os.read(terminal, 65536)
    except OSError:  # nobody is there any more
        break
    os.write(1, shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 255)
