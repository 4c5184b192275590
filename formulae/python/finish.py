"""Takes the build's own paths out of the installed configuration.

    python finish.py PREFIX SOURCE DEPS

The Makefile and the _sysconfigdata module that extension builders read are
installed as configure wrote them. Nothing that a builder uses is in those
paths: where the source tree was, and what its modules were linked with.
Nor are the flags that optimized this very build for anybody else: there is no
profile for them, and the number of jobs is in one.

Runs under every version that it finishes.
"""
import glob
import os
import re
import sys


def scrub(text, source, deps):
    # Whole words that name a dependency: -I/build/deps/sqlite/include, libsqlite3.a
    text = re.sub(r'''(-[IL])?%s/[^\s'"]*[ \t]?''' % re.escape(deps), '', text)
    text = re.sub(r'''-Wl,--exclude-libs,[^\s'"]*[ \t]?''', '', text)
    text = re.sub(r'''-(flto=\d+|fprofile-(use|correction)|Wno-missing-profile)(?=[\s'"])[ \t]?''', '', text)
    text = text.replace(source, '.')
    # The JSON that 3.14 and later install says where the build's own user keeps packages.
    home = os.environ.get('HOME', '').rstrip('/')
    return text.replace(home + '/', '~/') if home else text


def main(prefix, source, deps):
    library = os.path.join(prefix, 'lib', 'python%d.%d' % sys.version_info[:2])
    patterns = [
        os.path.join(library, '_sysconfigdata*.py'),
        os.path.join(library, 'config*', 'Makefile'),
        os.path.join(library, '_sysconfig_vars*.json'),
    ]
    paths = sorted(path for pattern in patterns for path in glob.glob(pattern))
    if len(paths) < 2:
        sys.exit('no _sysconfigdata or Makefile below ' + library)
    for path in paths:
        with open(path) as file:
            before = file.read()
        after = scrub(before, source, deps)
        if after != before:
            with open(path, 'w') as file:
                file.write(after)


if __name__ == '__main__':
    main(*sys.argv[1:])
