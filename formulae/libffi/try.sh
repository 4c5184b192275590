#!/bin/sh
# Links the library into a program that calls and is called by it: try.sh PREFIX.
set -eu
gcc -Wall -I"$1/include" -o /tmp/try -x c - -x none -L"$1/lib" -lffi <<'EOF'
#include <ffi.h>

static void closure(ffi_cif *cif, void *result, void **arguments, void *data)
{
    (void)cif;
    *(ffi_arg *)result = (ffi_arg)(*(int *)arguments[0] + *(int *)data);
}

int main(void)
{
    ffi_cif cif;
    ffi_type *types[] = {&ffi_type_sint};
    void *code;
    int given = 40, more = 2;
    void *arguments[] = {&given};
    ffi_arg result = 0;
    ffi_closure *made = ffi_closure_alloc(sizeof(ffi_closure), &code);
    if (made == NULL || ffi_prep_cif(&cif, FFI_DEFAULT_ABI, 1, &ffi_type_sint, types) != FFI_OK)
        return 1;
    if (ffi_prep_closure_loc(made, &cif, closure, &more, code) != FFI_OK)
        return 2;
    ffi_call(&cif, FFI_FN(code), &result, arguments);
    return (int)result == 42 ? 0 : 3;
}
EOF
/tmp/try || { echo "libffi: a call into a closure fails (exit $?)" >&2; exit 1; }
rm /tmp/try
