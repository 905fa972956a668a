"""helloworld.Greeter on gRPC C-core's xDS server: server.py PORT NAME

The bootstrap is what GRPC_XDS_BOOTSTRAP_CONFIG says; its control plane says by which certificates the server
speaks TLS, and who may call.
"""

import os
import signal
import sys
import threading
from concurrent import futures

import grpc

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from messages import decode, encode  # noqa: E402

PORT, NAME = sys.argv[1], sys.argv[2]


def main():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), xds=True)
    unary = grpc.unary_unary_rpc_method_handler(lambda *_: NAME, decode, encode)
    handler = grpc.method_handlers_generic_handler("helloworld.Greeter", {"SayHello": unary})
    server.add_generic_rpc_handlers((handler,))
    # Where the control plane says nothing of TLS it would be plaintext.
    fallback = grpc.insecure_server_credentials()
    server.add_secure_port(f"127.0.0.1:{PORT}", grpc.xds_server_credentials(fallback))
    server.start()
    stop.wait()
    server.stop(None)
    os._exit(0)


main()
