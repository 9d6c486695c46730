"""Waiting for a condition instead of sleeping for a guess."""

import time

SECONDS = 30
PAUSE_SECONDS = 0.01


def until(what, holds, seconds=SECONDS):
    """Calls `holds` until it gives something true, and gives that; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(PAUSE_SECONDS)
    return value
