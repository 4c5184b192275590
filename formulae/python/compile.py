"""Compiles the installed library to the same bytes on every machine.

    python compile.py PREFIX JOBS

What the compiler writes depends on what the interpreter has compiled before
(cpython#129724), so the sorted list of files is dealt to a fixed number of
fresh interpreters, whatever JOBS says. From 3.7 on a .pyc holds the hash of its
source, unchecked, so it stays valid wherever and whenever the tree is unpacked.
Before that it holds the source's time: the sources get SOURCE_DATE_EPOCH, the
time with which the tree is packaged.

Runs under every version that it compiles for.
"""
import os
import py_compile
import subprocess
import sys
import time

PARTS = 16


def sources(prefix):
    library = os.path.join(prefix, 'lib', 'python%d.%d' % sys.version_info[:2])
    found = []
    for directory, subdirectories, files in os.walk(library):
        # Code of other people, compiled by who installs it.
        subdirectories[:] = [name for name in subdirectories if name != 'site-packages']
        found += [os.path.join(directory, name) for name in files if name.endswith('.py')]
    return sorted(found)


def compile_part(prefix, part):
    options = {'doraise': True}
    if hasattr(py_compile, 'PycInvalidationMode'):
        options['invalidation_mode'] = py_compile.PycInvalidationMode.UNCHECKED_HASH
    epoch = int(os.environ['SOURCE_DATE_EPOCH'])
    failures = 0
    for path in sources(prefix)[part::PARTS]:
        os.utime(path, (epoch, epoch))
        try:
            py_compile.compile(path, **options)
        except py_compile.PyCompileError as error:
            sys.stderr.write('%s: %s\n' % (path, error))
            failures += 1
    return failures


def main(prefix, jobs):
    """Runs the parts, at most `jobs` at a time; gives the exit code."""
    command = [sys.executable, '-s', '-S', '-B', os.path.abspath(__file__), prefix, '--part']
    # The order of a constant set is the order of its members' hashes. (`-E` would ignore this.)
    environment = dict(os.environ, PYTHONHASHSEED='0')
    waiting = list(range(PARTS))
    running = []
    failed = False
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(subprocess.Popen(command + [str(waiting.pop(0))], env=environment))
        finished = [process for process in running if process.poll() is not None]
        failed = failed or any(process.returncode != 0 for process in finished)
        running = [process for process in running if process not in finished]
        if running and not finished:
            time.sleep(0.01)
    return 1 if failed else 0


if __name__ == '__main__':
    if sys.argv[2] == '--part':
        sys.exit(1 if compile_part(sys.argv[1], int(sys.argv[3])) else 0)
    sys.exit(main(sys.argv[1], max(1, int(sys.argv[2]))))
