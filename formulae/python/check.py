"""Proves an installed Python, from inside it and without a network.

    python check.py version 3.11.2      it is this version
    python check.py prefix DIR          it knows where it was started from
    python check.py venv [OPTION]...    environments that `python -m venv` makes so are working
    python check.py modules NAME...     each of these can be imported
    python check.py sqlite 3.46.1       sqlite3 is this SQLite, with all its features
    python check.py openssl 3.5.7       what it encrypts with is this OpenSSL, inside its modules
    python check.py inside LIB NAME...  no module of these takes this library from the system
    python check.py tls                 TLS works: handshake and verification over loopback

Silent and 0 if so; else one line on stderr for each thing that is not, and 1.
Runs under every version that it checks.
"""
import os
import re
import sys
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))


def one_line(error):
    return '%s: %s' % (type(error).__name__, ' '.join(str(error).split()))


def check_version(wanted):
    found = '%d.%d.%d' % sys.version_info[:3]
    if sys.version_info[3] != 'final':
        stages = {'alpha': 'a', 'beta': 'b', 'candidate': 'rc'}
        found += '%s%d' % (stages[sys.version_info[3]], sys.version_info[4])
    if found != wanted:
        yield 'it is %s, not %s' % (found, wanted)


def check_prefix(wanted):
    wanted = os.path.realpath(wanted)
    for name in 'prefix', 'exec_prefix':
        found = getattr(sys, name)
        if os.path.realpath(found) != wanted:
            yield 'sys.%s is %s, not %s' % (name, found, wanted)
    if not os.path.realpath(os.__file__).startswith(wanted + os.sep):
        yield 'its library is %s, not below %s' % (os.__file__, wanted)


def check_venv(*options):
    if sys.version_info < (3, 4):
        return
    import shutil
    import subprocess
    import tempfile

    directory = tempfile.mkdtemp()
    try:
        environment = os.path.join(directory, 'environment')
        make = [sys.executable, '-I', '-m', 'venv', '--without-pip'] + list(options) + [environment]
        for command in make, [os.path.join(environment, 'bin', 'python'), '-I', '-c', 'pass']:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            said = process.communicate()[0].decode('utf-8', 'replace')
            if process.returncode != 0:
                yield '%s: exit status %d: %s' % (' '.join(command), process.returncode, said)
                break
    finally:
        shutil.rmtree(directory)


def check_modules(*names):
    for name in names:
        try:
            __import__(name)
        except Exception as error:
            yield '%s: %s' % (name, one_line(error))


def check_sqlite(wanted):
    import sqlite3

    if sqlite3.sqlite_version != wanted:
        yield 'it is SQLite %s, not %s' % (sqlite3.sqlite_version, wanted)

    features = [
        ('FTS3', ['CREATE VIRTUAL TABLE t USING fts3(x)', "INSERT INTO t VALUES('ab cd')",
                  "SELECT x FROM t WHERE t MATCH 'cd'"], 'ab cd'),
        ('FTS4', ['CREATE VIRTUAL TABLE t USING fts4(x)', "INSERT INTO t VALUES('ab cd')",
                  "SELECT x FROM t WHERE t MATCH 'cd'"], 'ab cd'),
        ('FTS5', ['CREATE VIRTUAL TABLE t USING fts5(x)', "INSERT INTO t VALUES('ab cd')",
                  "SELECT x FROM t WHERE t MATCH 'cd'"], 'ab cd'),
        ('RTREE', ['CREATE VIRTUAL TABLE t USING rtree(id, a, b)', 'INSERT INTO t VALUES(7, 1, 2)',
                   'SELECT id FROM t WHERE a <= 1.5 AND b >= 1.5'], 7),
        ('GEOPOLY', ["SELECT geopoly_area('[[0,0],[1,0],[1,1],[0,1],[0,0]]')"], 1.0),
        ('JSON', ["""SELECT json_extract('{"a":[1,2]}', '$.a[1]')"""], 2),
        ('DBSTAT', ['CREATE TABLE t(x)', "SELECT name FROM dbstat WHERE name = 't'"], 't'),
        ('column metadata', ["SELECT sqlite_compileoption_used('ENABLE_COLUMN_METADATA')"], 1),
        ('thread safety', ["SELECT sqlite_compileoption_used('THREADSAFE=1')"], 1),
    ]
    if sqlite3.sqlite_version_info >= (3, 35):
        features.append(('math functions', ['SELECT pow(2, 3)'], 8.0))
    for name, statements, expected in features:
        connection = sqlite3.connect(':memory:')
        try:
            for statement in statements:
                row = connection.execute(statement).fetchone()
            if row != (expected,):
                yield '%s: gave %r, not %r' % (name, row, expected)
        except sqlite3.Error as error:
            yield '%s: %s' % (name, one_line(error))

    connection = sqlite3.connect(':memory:')
    nowhere = '/nonexistent/extension.so'
    try:
        connection.enable_load_extension(True)
        connection.execute('SELECT load_extension(?)', (nowhere,))
        yield 'loadable extensions: loaded one that does not exist'
    except AttributeError as error:
        yield 'loadable extensions: %s' % one_line(error)
    except sqlite3.Error as error:
        # It must have tried: the loader's message names the file.
        if nowhere not in str(error):
            yield 'loadable extensions: %s' % one_line(error)


def check_inside(library, *names):
    soname = (library + '.so').encode('ascii')
    for name in names:
        path = getattr(__import__(name), '__file__', None)
        with open(path or os.path.realpath(sys.executable), 'rb') as file:
            if soname in file.read():
                yield '%s takes %s from the system' % (name, library)


def check_openssl(wanted):
    import _hashlib
    import ssl

    if ssl.OPENSSL_VERSION.split()[:2] != ['OpenSSL', wanted]:
        yield 'it is %s, not %s' % (ssl.OPENSSL_VERSION, wanted)
    if _hashlib.new('sha512_256', b'').digest_size != 32:
        yield 'hashlib has not what OpenSSL has'
    for library in 'libssl', 'libcrypto':
        for failure in check_inside(library, '_ssl', '_hashlib'):
            yield failure
    # Those of the stack, which the platform keeps fresh.
    paths = ssl.get_default_verify_paths()
    if paths.openssl_capath != '/usr/lib/ssl/certs' or not os.path.isdir(paths.openssl_capath):
        yield 'it looks for certificates in %s' % paths.openssl_capath


def check_tls():
    import socket
    import ssl
    import threading

    ssl.create_default_context()
    certificate = os.path.join(HERE, 'loopback.pem')
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    accepting.load_cert_chain(certificate)
    with open(certificate) as file:
        text = re.search('-----BEGIN CERT.*-----END CERTIFICATE-----', file.read(), re.DOTALL).group()
    try:
        # OpenSSL 3 tells the end of them in another way than those before.
        trusting = ssl.create_default_context(cadata=ssl.PEM_cert_to_DER_cert(text))
        if trusting.cert_store_stats()['x509'] != 1:
            yield 'a certificate was not taken as DER'
    except ssl.SSLError as error:
        yield 'certificates as DER: %s' % one_line(error)
    server = socket.socket()
    server.bind(('127.0.0.1', 0))
    server.listen(2)
    server.settimeout(30)
    troubles = []

    def serve():
        # Twice: for the client that trusts the certificate and the one that does not.
        for _ in range(2):
            try:
                connection = server.accept()[0]
            except socket.error as error:
                troubles.append(error)
                return
            try:
                connection.settimeout(30)
                secured = accepting.wrap_socket(connection, server_side=True)
                secured.sendall(secured.recv(5)[::-1])
                secured.close()
            except (ssl.SSLError, socket.error) as error:
                troubles.append(error)
            # 2.7 shares the descriptor: it is open until both are closed.
            connection.close()

    def connect(context):
        connection = socket.create_connection(server.getsockname(), 30)
        try:
            secured = context.wrap_socket(connection, server_hostname='localhost')
            secured.sendall(b'hello')
            # 3.4 cannot tell; 2.7.9 can.
            version = secured.version() if hasattr(secured, 'version') else 'TLSv1.2'
            # The peer hangs up without a farewell: that is an end, not an error.
            answer = secured.recv(5)
            return answer + secured.recv(1), version
        finally:
            connection.close()

    thread = threading.Thread(target=serve)
    thread.daemon = True
    thread.start()
    try:
        answer, version = connect(ssl.create_default_context(cafile=certificate))
        if answer != b'olleh':
            yield 'the peer answered %r' % answer
        if version not in ('TLSv1.2', 'TLSv1.3'):
            yield 'the peers agreed on %s' % version
    except (ssl.SSLError, socket.error) as error:
        yield 'handshake: %s%s' % (one_line(error), ''.join('; server: ' + one_line(e) for e in troubles))
        return
    try:
        connect(ssl.create_default_context())
        yield 'a certificate that nobody vouches for was accepted'
    except ssl.SSLError as error:
        if 'CERTIFICATE_VERIFY_FAILED' not in str(error).upper().replace(' ', '_'):
            yield 'verification: %s' % one_line(error)
    thread.join(30)


CHECKS = {
    'version': check_version,
    'prefix': check_prefix,
    'venv': check_venv,
    'modules': check_modules,
    'sqlite': check_sqlite,
    'openssl': check_openssl,
    'inside': check_inside,
    'tls': check_tls,
}


def main(name='', *arguments):
    # A module on its way out is still one that must be there.
    warnings.simplefilter('ignore', DeprecationWarning)
    if name not in CHECKS:
        sys.exit(__doc__)
    failures = 0
    try:
        for failure in CHECKS[name](*arguments):
            sys.stderr.write('%s: %s\n' % (name, failure))
            failures += 1
    except ImportError as error:
        sys.stderr.write('%s: %s\n' % (name, one_line(error)))
        failures += 1
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
