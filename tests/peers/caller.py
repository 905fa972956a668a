"""Calls helloworld.Greeter over mutual TLS by gRPC C-core: caller.py PORT NAME CALLS

Certificate, key and roots are the files that TLS_CERTIFICATE, TLS_KEY and TLS_ROOTS name; NAME is what
the server must prove. Prints each answer on a line of its own.
"""

import os
import sys

import grpc

from messages import decode, encode

PORT, NAME, CALLS = sys.argv[1], sys.argv[2], int(sys.argv[3])


def main():
    certificate, key, roots = (
        open(os.environ[name], "rb").read() for name in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_ROOTS")
    )
    credentials = grpc.ssl_channel_credentials(roots, key, certificate)
    options = [("grpc.ssl_target_name_override", NAME)]
    with grpc.secure_channel(f"127.0.0.1:{PORT}", credentials, options) as channel:
        say = channel.unary_unary("/helloworld.Greeter/SayHello", encode, decode)
        for number in range(CALLS):
            print(say(f"call {number}", timeout=10))


main()
