"""Writes numbered lines to standard output until SIGTERM; then tells on stderr how many.

Each line is `NUMBER FILLING NUMBER`, so that every loss, cut or mixture shows. Arguments: a seed,
the longest filling, and seconds to wait after each batch. SIGUSR1 stops it between two batches,
never in the middle of a line: it tells how many there are by then, and goes on at SIGCONT.
"""

import os
import random
import signal
import sys
import time

seed, longest, pause_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
dice = random.Random(seed)
going = [True]
pausing: list[bool] = []
signal.signal(signal.SIGUSR1, lambda *_: pausing.append(True))
signal.signal(signal.SIGTERM, lambda *_: going.clear())
number = 0
while going:
    batch = []
    for _ in range(dice.randrange(1, 60)):
        size = dice.randrange(longest) if dice.random() < 0.02 else dice.randrange(120)
        batch.append(b"%d %s %d\n" % (number, b"x" * size, number))
        number += 1
    data = memoryview(b"".join(batch))
    while data:
        data = data[os.write(1, data) :]
    if pausing:
        pausing.clear()
        sys.stderr.write(f"{number}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSTOP)
    if pause_s:
        time.sleep(pause_s)
sys.stderr.write(f"{number}\n")
