"""helloworld.Greeter on gRPC C-core: greeter.py NAME PORT GRACE [OPTION=VALUE ...]

The messages have one string field each, so no generated code is needed. What the caller names is
what the server does (see `say_hello`). SIGTERM stops it gracefully: GOAWAY, then up to GRACE
seconds for the calls in flight.
"""

import os
import signal
import sys
import threading
import time
from concurrent import futures

import grpc

from messages import decode, encode

NAME, PORT, GRACE = sys.argv[1], sys.argv[2], float(sys.argv[3])
OPTIONS = [(key, int(value)) for key, value in (arg.split("=") for arg in sys.argv[4:])]


def say_hello(request, context):
    command, *words = request.split(" ")
    metadata = dict(context.invocation_metadata())
    if command == "sleep":
        time.sleep(int(words[0]) / 1000)
    elif command == "caller":
        # Whom the caller's certificate names.
        names = context.auth_context().get("x509_subject_alternative_name", [])
        return " ".join(name.decode() for name in names)
    elif command == "left":
        return str(context.time_remaining())
    elif command == "metadata":
        context.send_initial_metadata((("x-initial", metadata[words[0]]),))
        context.set_trailing_metadata((("x-trailing-bin", b"\x00\xff"),))
        return str(metadata[words[0]])
    elif command == "fail":
        context.abort(grpc_code(words[0]), " ".join(words[1:]))
    elif command == "flaky":
        # Fails the first so many attempts of a call, by the count that the client declares.
        earlier = int(metadata.get("grpc-previous-rpc-attempts", 0))
        if earlier < int(words[0]):
            if len(words) > 2:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", words[2]),))
            context.abort(grpc_code(words[1]), f"attempt {earlier + 1} fails")
        return str(earlier)
    return NAME


def count(request, context):
    number, pause = (int(word) for word in request.split(" "))
    for index in range(number):
        yield f"{NAME} {index}"
        time.sleep(pause / 1000)


def grpc_code(number):
    return next(code for code in grpc.StatusCode if code.value[0] == int(number))


def handlers():
    unary = grpc.unary_unary_rpc_method_handler(say_hello, decode, encode)
    stream = grpc.unary_stream_rpc_method_handler(count, decode, encode)
    methods = {"SayHello": unary, "Count": stream}
    return grpc.method_handlers_generic_handler("helloworld.Greeter", methods)


def main():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=OPTIONS)
    server.add_generic_rpc_handlers((handlers(),))
    if "TLS_CERTIFICATE" in os.environ:
        # Mutual TLS: who calls must show a certificate of the same authority.
        certificate, key, roots = (
            open(os.environ[name], "rb").read() for name in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_ROOTS")
        )
        credentials = grpc.ssl_server_credentials([(key, certificate)], roots, True)
        server.add_secure_port(f"127.0.0.1:{PORT}", credentials)
    else:
        server.add_insecure_port(f"127.0.0.1:{PORT}")
    server.start()
    stop.wait()
    server.stop(GRACE).wait()


main()
