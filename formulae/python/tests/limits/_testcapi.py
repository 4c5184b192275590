"""The limits of C's types, for tests that would not even be imported for want of them.

The module of this name that has much more is for CPython's own tests, and no package has it.
"""
import struct
import sys


def _limits(name, code):
    bits = 8 * struct.calcsize(code)
    space = globals()
    space[name + '_MAX'], space[name + '_MIN'] = 2 ** (bits - 1) - 1, -2 ** (bits - 1)
    space['U' + name + '_MAX'] = 2 ** bits - 1


for _name, _code in ('CHAR', 'b'), ('SHRT', 'h'), ('INT', 'i'), ('LONG', 'l'), ('LLONG', 'q'):
    _limits(_name, _code)
PY_SSIZE_T_MAX, PY_SSIZE_T_MIN = sys.maxsize, -sys.maxsize - 1
DBL_MAX, DBL_MIN = sys.float_info.max, sys.float_info.min
