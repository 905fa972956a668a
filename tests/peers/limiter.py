"""envoy.service.ratelimit.v3 on gRPC C-core, with limits that it enforces: limiter.py PORT DOMAIN LIMITS ASKED

LIMITS is a list in JSON: {"key", "value", "requests", "unit", "shadow"}. A descriptor of one entry
is counted by the first limit of its key and value; a limit without a value counts each value on
its own. A window begins with its first request. In shadow mode it counts and refuses nothing.
The last fifth of a limit is told by `x-near-limit`. Each question is written down in the file ASKED, a line of JSON
for each: its descriptions, each with what it counts for. SIGTERM stops it.
"""

import json
import signal
import sys
import threading
import time
from concurrent import futures

import grpc
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc

PORT, DOMAIN, LIMITS = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
ASKED = sys.argv[4]
STOP = threading.Event()
SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400}
Response = rls_pb2.RateLimitResponse


def hits_of(descriptor, request):
    if descriptor.HasField("hits_addend"):
        return descriptor.hits_addend.value
    return request.hits_addend or 1


class Limiter(rls_pb2_grpc.RateLimitServiceServicer):
    def __init__(self):
        self.lock = threading.Lock()
        self.windows = {}

    def status(self, descriptor, request, response):
        status = response.statuses.add(code=Response.OK)
        if len(descriptor.entries) != 1:
            return Response.OK
        entry = descriptor.entries[0]
        for limit in LIMITS:
            if limit["key"] == entry.key and limit.get("value") in (None, entry.value):
                break
        else:
            return Response.OK
        hits = hits_of(descriptor, request)
        now, unit = time.monotonic(), SECONDS[limit["unit"]]
        begun, used = self.windows.get((entry.key, entry.value), (now, 0))
        if now - begun >= unit:
            begun, used = now, 0
        used += hits
        self.windows[(entry.key, entry.value)] = (begun, used)
        left = max(0, limit["requests"] - used)
        status.current_limit.requests_per_unit = limit["requests"]
        status.current_limit.unit = Response.RateLimit.Unit.Value(limit["unit"])
        status.limit_remaining = left
        status.duration_until_reset.seconds = int(begun + unit - now)
        is_over = used > limit["requests"]
        if left * 5 <= limit["requests"]:
            response.response_headers_to_add.add(key="x-near-limit", value=entry.value)
        if is_over and not limit.get("shadow"):
            status.code = Response.OVER_LIMIT
        elif is_over:
            response.request_headers_to_add.add(key="x-shadow-over", value=entry.value)
        return status.code

    def ShouldRateLimit(self, request, context):
        if request.domain != DOMAIN:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"domain {request.domain}")
        response = Response()
        asked = [
            [[[entry.key, entry.value] for entry in it.entries], hits_of(it, request)]
            for it in request.descriptors
        ]
        with self.lock:
            with open(ASKED, "a") as log:
                print(json.dumps(asked), file=log)
            codes = [
                self.status(it, request, response) for it in request.descriptors
            ]
        over = Response.OVER_LIMIT in codes
        response.overall_code = Response.OVER_LIMIT if over else Response.OK
        return response


def main():
    signal.signal(signal.SIGTERM, lambda *_: STOP.set())
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(Limiter(), server)
    server.add_insecure_port(f"127.0.0.1:{PORT}")
    server.start()
    STOP.wait()
    server.stop(0.2).wait()


main()
