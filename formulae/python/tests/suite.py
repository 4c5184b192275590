"""Runs CPython's own tests with the interpreter that runs this: a packaged one, without tests.

    python suite.py list SOURCE     lay the tests of a source beside its library; print their names
    python suite.py run TEST        run one of them; the last line printed says how it ended, as JSON

Runs under every version that it tests: 2.7, and 3.4 on.
"""
import compileall
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

LIBRARY = os.path.dirname(os.path.realpath(os.__file__))
# What 2.7 and the first of 3 have among their tests that is none.
NO_TESTS = frozenset(['test_support', 'test_future1', 'test_future2'])
# Packages that take long, and of which each module is a test: as regrtest has it since 3.12.
SPLIT = frozenset([
    'test_asyncio', 'test_concurrent_futures', 'test_multiprocessing_fork',
    'test_multiprocessing_forkserver', 'test_multiprocessing_spawn'])
# How much is said of a test at most.
CASES, TEXT = 2000, 300


def make_directory(path):
    try:
        os.makedirs(path)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise


def lay(source):
    """Copies what lies below directories of tests. What the runtime has stays as it is."""
    top = os.path.join(source, 'Lib')
    for directory, _, files in os.walk(top):
        relative = os.path.relpath(directory, top)
        if not any(part in ('test', 'tests', 'idle_test') for part in relative.split(os.sep)):
            continue
        into = os.path.join(LIBRARY, relative)
        make_directory(into)
        for name in files:
            to = os.path.join(into, name)
            if not os.path.lexists(to):
                shutil.copy2(os.path.join(directory, name), to)
    # What each test imports: nothing is written there once they run.
    tests = os.path.join(LIBRARY, 'test')
    for name in 'support', 'libregrtest':
        if os.path.isdir(os.path.join(tests, name)):
            compileall.compile_dir(os.path.join(tests, name), quiet=1)
    compileall.compile_dir(tests, 0, quiet=1, rx=re.compile('/(?!__init__|regrtest)[^/]*$'))


def tests_in(directory):
    for name in sorted(os.listdir(directory)):
        stem, ending = os.path.splitext(name)
        is_package = os.path.exists(os.path.join(directory, name, '__init__.py'))
        if stem.startswith('test_') and stem not in NO_TESTS and (ending == '.py' or is_package):
            yield stem, is_package


def names():
    tests = os.path.join(LIBRARY, 'test')
    for name, is_package in tests_in(tests):
        if is_package and name in SPLIT:
            for module, _ in tests_in(os.path.join(tests, name)):
                yield name + '.' + module
        else:
            yield name


def case(name):
    """`test_a (test.test_x.Case.test_a) (n=1)` and `test_a (test.test_x.Case)` as `Case.test_a`."""
    found = re.match(r'(\S+) \(([\w.<>]+)\)', name)
    if found is None:
        return name.split(' (')[0].split(' [')[0]
    short, path = found.groups()
    if not path.endswith('.' + short):
        path += '.' + short
    # What unittest makes of a module that cannot be imported.
    path = re.sub(r'^unittest2?\.loader\.\w+\.', '', path)
    return re.sub(r'^(test\.)?(test_\w+\.)*(?=.)', '', path)


def plain(text):
    """One line without what steers a terminal."""
    return re.sub(r'[\x00-\x1f\x7f-\x9f]', '?', ' '.join(text.split()))[:TEXT]


class Listener(object):
    """Hands on what a test prints, and hears what it says of itself."""

    def __init__(self, test):
        self.cases = set()
        self.skipped = None
        self.nothing_ran = False
        self.ran = 0
        self.midline = False
        self.skip = re.compile(
            r'(?:^|\s)(?:test\.)?%s skipped(?: \(resource denied\))?(?: -- (.*))?$' % re.escape(test))

    def listen(self, stream):
        out = getattr(sys.stdout, 'buffer', sys.stdout)
        rule = False
        for line in iter(lambda: stream.readline(65536), b''):
            out.write(line)
            out.flush()
            self.midline = not line.endswith(b'\n')
            text = line.decode('utf-8', 'replace').rstrip()
            failed = re.match('(?:FAIL|ERROR): (.+)', text)
            # A test may print anything; unittest draws a line before.
            if failed and rule and len(self.cases) < CASES:
                self.cases.add(plain(case(failed.group(1))))
            rule = text == '=' * 70
            skipped = self.skip.search(text)
            if skipped:
                # Said again at the end, without the reason.
                self.skipped = plain(skipped.group(1) or '') or self.skipped or 'it does not say why'
            ran = re.match(r'Ran (\d{1,9}) tests? in ', text)
            self.ran += int(ran.group(1)) if ran else 0
            if text.startswith('== Tests result: NO TEST') or text == 'NO TESTS RAN':
                self.nothing_ran = True


def signal_name(number):
    for name in sorted(dir(signal)):
        if re.match('SIG[A-Z]+$', name) and getattr(signal, name) == number:
            return name
    return 'signal %d' % number


def execute(listener, args, **more):
    place = os.path.join(os.environ.get('TMPDIR', '/tmp'), 'work')
    make_directory(place)
    environment = dict(os.environ, TERM='xterm', **more)
    process = subprocess.Popen(
        [sys.executable, '-m'] + args, cwd=place, env=environment, stdin=open(os.devnull, 'rb'),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    thread = threading.Thread(target=listener.listen, args=(process.stdout,))
    thread.daemon = True
    thread.start()
    status = process.wait()
    # What a test leaves running may hold its end of the pipe for ever.
    thread.join(10)
    return status


def run(test):
    listener = Listener(test)
    # Of what needs to be asked for: what takes no network, and not long.
    status = execute(listener, ['test.regrtest', '-v', '-u', 'curses,subprocess', test])
    if status > 0 and not listener.ran and not listener.nothing_ran:
        # A module of it cannot be imported, and so regrtest runs none; unittest runs the others. Many
        # need no more of a module that no package has than the limits of C's types.
        again = Listener(test)
        limits = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'limits')
        outcome = execute(again, ['unittest', '-v', 'test.' + test], PYTHONPATH=limits)
        if again.ran:
            status, listener = outcome, again
    if status < 0:
        result = {'outcome': 'crashed', 'why': 'it was killed by ' + signal_name(-status)}
    elif status == 0 and listener.skipped:
        result = {'outcome': 'skipped', 'why': listener.skipped}
    elif status == 0 and not listener.nothing_ran:
        result = {'outcome': 'passed'}
    elif status in (0, 4) and listener.nothing_ran:
        result = {'outcome': 'skipped', 'why': 'none of it ran'}
    else:
        result = {'outcome': 'failed', 'cases': sorted(listener.cases)}
    sys.stdout.write(('\n' if listener.midline else '') + json.dumps(result) + '\n')
    sys.stdout.flush()
    # Whatever the thread is doing.
    os._exit(0)


def main(args):
    if len(args) == 2 and args[0] == 'list':
        lay(args[1])
        for name in names():
            print(name)
    elif len(args) == 2 and args[0] == 'run':
        run(args[1])
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
