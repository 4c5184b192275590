"""Says what software of others is in a prefix, and puts the texts of their licences there.

    python contents.py PREFIX SOURCE DEPS

Writes PREFIX/share/components.json, which pybuild reads, and PREFIX/share/licenses.
What is compiled in is asked of the interpreter that was just built, else read from
the source's own headers: upstream's list (Misc/sbom.spdx.json) is behind at times.
What a module takes from a library of the system is not inside. DEPS holds the
prefixes of what was linked in.

Runs under every version that it describes.
"""
import glob
import io
import json
import os
import platform
import re
import shutil
import sys
import zipfile


def read(*parts):
    path = os.path.join(*parts)
    if not os.path.exists(path):
        return ''
    with io.open(path, encoding='utf-8', errors='replace') as file:
        return file.read()


def is_bundled(module, library):
    """Whether a module of the interpreter does not take a library from the system."""
    path = getattr(module, '__file__', None)
    if path is None:
        path = os.path.realpath(sys.executable)
    with open(path, 'rb') as file:
        return (library + '.so').encode('ascii') not in file.read()


def component(name, version, license, cpe=None, purl=None):
    found = {'name': name, 'version': version, 'license': license}
    found['purl'] = purl or 'pkg:generic/%s@%s' % (name, version)
    if cpe:
        found['cpe'] = 'cpe:2.3:a:%s:%s:*:*:*:*:*:*:*' % (cpe, version)
    return found


def compiled_in(source):
    modules = os.path.join(source, 'Modules')
    yield component('python', platform.python_version(), 'PSF-2.0', 'python:python')
    import pyexpat
    if is_bundled(pyexpat, 'libexpat'):
        version = pyexpat.EXPAT_VERSION.split('_')[-1]
        yield component('expat', version, 'MIT', 'libexpat_project:libexpat')
    try:
        import _decimal
    except ImportError:  # 2.7 has none
        pass
    else:
        if is_bundled(_decimal, 'libmpdec'):
            version = _decimal.__libmpdec_version__
            yield component('mpdecimal', version, 'BSD-2-Clause', 'bytereef:mpdecimal')
    libffi = read(modules, '_ctypes', 'libffi', 'configure.ac')
    if libffi:
        import _ctypes
        version = re.search(r'AC_INIT\(\[libffi\], \[([^]]+)\]', libffi)
        if version and is_bundled(_ctypes, 'libffi'):
            yield component('libffi', version.group(1), 'MIT', 'libffi_project:libffi')
    hacl = re.search(r'^expected_hacl_star_rev=(\w+)', read(modules, '_hacl', 'refresh.sh'), re.M)
    if hacl:
        # The licence that its files give, of which a few are of either.
        yield component('hacl-star', hacl.group(1), 'MIT', 'hacl-star:hacl-star')
    sha3 = read(modules, '_sha3', 'README.txt')
    commit = re.search(r'^commit (\w+)', sha3, re.M)
    if sha3.startswith('tiny_sha3') and commit:
        yield component('tiny_sha3', commit.group(1), 'MIT')


def wheels(library):
    """What ensurepip would install."""
    for path in sorted(glob.glob(os.path.join(library, 'ensurepip', '_bundled', '*.whl'))):
        name, version = os.path.basename(path).split('-')[:2]
        with zipfile.ZipFile(path) as wheel:
            metadata, = [n for n in wheel.namelist() if n.endswith('.dist-info/METADATA')]
            text = wheel.read(metadata).decode('utf-8')
        license = re.search(r'^License(?:-Expression)?: ([A-Za-z0-9. +()-]+)\r?$', text, re.M)
        found = component(name, version, None, None, 'pkg:pypi/%s@%s' % (name, version))
        if license and license.group(1) != 'UNKNOWN':
            found['license'] = license.group(1)
        else:
            del found['license']
        yield found


def licences(source, deps):
    for name, path in [
        ('python', 'LICENSE'),
        # What is incorporated, with the texts that its authors ask for.
        ('python', 'Doc/license.rst'),
        ('expat', 'Modules/expat/COPYING'),
        ('libffi', 'Modules/_ctypes/libffi/LICENSE'),
        ('tiny_sha3', 'Modules/_sha3/LICENSE'),
    ]:
        yield name, os.path.join(source, path)
    for path in sorted(glob.glob(os.path.join(deps, '*', 'share', 'licenses', '*', '*'))):
        yield os.path.basename(os.path.dirname(path)), path


def main(prefix, source, deps):
    library = os.path.join(prefix, 'lib', 'python%d.%d' % sys.version_info[:2])
    components = list(compiled_in(source)) + list(wheels(library))
    for path in sorted(glob.glob(os.path.join(deps, '*', 'share', 'components.json'))):
        components += json.loads(read(path))
    share = os.path.join(prefix, 'share')
    named = set(component['name'] for component in components)
    for name, path in licences(source, deps):
        if name not in named or not os.path.exists(path):
            continue
        directory = os.path.join(share, 'licenses', name)
        if not os.path.isdir(directory):
            os.makedirs(directory)
        shutil.copyfile(path, os.path.join(directory, os.path.basename(path)))
    text = json.dumps(components, indent=1, sort_keys=True, separators=(',', ': '))
    with open(os.path.join(share, 'components.json'), 'w') as file:
        file.write(text + '\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
