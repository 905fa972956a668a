"""Calls by gRPC C-core's xDS client, as it is told line by line: caller.py

The bootstrap is what GRPC_XDS_BOOTSTRAP_CONFIG says. A line asks for calls, one after the other:
{"target": "greeter", "count": 3, "headers": {"x-user": "user-{n}"}, "timeout": 2.0}; the answer is a line
with an outcome per call: {"who": "a"} or {"code": 14, "text": "..."}, and how long it took, the making of its
channel included: "ms".
"""

import json
import os
import sys
import time

import grpc
import grpc.experimental

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from messages import decode, encode  # noqa: E402


def channel(target, cache={}):
    if target not in cache:
        name = f"xds:///{target}"
        if os.environ.get("TLS"):
            plain = grpc.experimental.insecure_channel_credentials()
            cache[target] = grpc.secure_channel(name, grpc.xds_channel_credentials(plain))
        else:
            cache[target] = grpc.insecure_channel(name)
    return cache[target]


def method(target, cache={}):
    if target not in cache:
        cache[target] = channel(target).unary_unary("/helloworld.Greeter/SayHello", encode, decode)
    return cache[target]


def call(asked, number):
    headers = [(key, value.replace("{n}", str(number))) for key, value in asked["headers"].items()]
    began = time.monotonic()
    say = method(asked["target"])
    try:
        outcome = {"who": say("", timeout=asked["timeout"], metadata=headers)}
    except grpc.RpcError as error:
        outcome = {"code": error.code().value[0], "text": error.details()}
    outcome["ms"] = (time.monotonic() - began) * 1000
    return outcome


print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps([call(asked, number) for number in range(asked["count"])]), flush=True)
os._exit(0)
