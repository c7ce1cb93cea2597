#!/usr/bin/env python
"""Django's command line for Headrace."""

import atexit
import gc
import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "main.settings")
    # What is made at the start stays until the end: to look through it again and again, and once
    # more at the end, took a sixth of the time of a small command.
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
