"""The server of gRPC's interop tests of xDS, as far as its clients look, on C-core: interop_server.py PORT NAME [FOLDER]

With a FOLDER it speaks mutual TLS by the files there: ca.crt, tls.crt, tls.key.
"""

import os
import signal
import sys
import threading
from concurrent import futures

import grpc

PORT, NAME = sys.argv[1], sys.argv[2]


def content(name):
    with open(os.path.join(sys.argv[3], name), "rb") as file:
        return file.read()


def answer(_, context):
    context.send_initial_metadata((("hostname", NAME),))
    return b""


def main():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    unary = grpc.unary_unary_rpc_method_handler(answer, bytes, bytes)
    methods = {"EmptyCall": unary, "UnaryCall": unary}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.testing.TestService", methods),))
    if len(sys.argv) > 3:
        pairs = [(content("tls.key"), content("tls.crt"))]
        creds = grpc.ssl_server_credentials(pairs, content("ca.crt"), require_client_auth=True)
        server.add_secure_port(f"127.0.0.1:{PORT}", creds)
    else:
        server.add_insecure_port(f"127.0.0.1:{PORT}")
    server.start()
    stop.wait()
    server.stop(None)
    os._exit(0)


main()
