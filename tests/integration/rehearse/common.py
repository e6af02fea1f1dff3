"""What the tests of this room share."""
import os
import subprocess

TRIMTAB = os.environ['TRIMTAB']
SOURCE = os.environ['SOURCE_DIR']


def run(*args, timeout=200):
    r = subprocess.run([TRIMTAB, 'rehearse', *args], capture_output=True, timeout=timeout)
    return r.returncode, r.stdout.decode(), r.stderr.decode()
