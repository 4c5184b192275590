#!/bin/sh
# Links the libraries into a program, which must work: try.sh PREFIX VERSION.
set -eu
gcc -Wall -I"$1/include" -o /tmp/try -x c - -x none -L"$1/lib" -lssl -lcrypto -pthread <<'EOF'
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>

int main(void)
{
    unsigned char digest[32];
    unsigned int size = 0;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION))
        return 1;
    if (!EVP_Digest("abc", 3, digest, &size, EVP_sha256(), NULL) || size != 32)
        return 2;
    printf("%s %02x%02x %s\n", OpenSSL_version(OPENSSL_VERSION_STRING), digest[0], digest[31],
           X509_get_default_cert_dir());
    return 0;
}
EOF
tried=$(/tmp/try)
rm /tmp/try
wanted="$2 baad /usr/lib/ssl/certs"
[ "$tried" = "$wanted" ] || {
	echo "openssl: it says '$tried', not '$wanted'" >&2
	exit 1
}
