"""helloworld.Greeter on gRPC C-core that reports its load: reporter.py NAME PORT UTILIZATION RPS RIF

Each answer but those to `silent` carries an `xds.data.orca.v3.OrcaLoadReport` in its trailing metadata, and
`xds.service.orca.v3.OpenRcaService` streams the same; each stream is said in a line of JSON. UTILIZATION is a
number, or a file that says it, read for each report. SIGTERM stops it.
"""

import json
import signal
import sys
import threading
from concurrent import futures

import grpc
from xds.data.orca.v3 import orca_load_report_pb2
from xds.service.orca.v3 import orca_pb2

from messages import decode, encode

NAME, PORT, UTILIZATION = sys.argv[1:4]
RPS, RIF = (float(arg) for arg in sys.argv[4:])
STOP = threading.Event()


def utilization():
    try:
        return float(UTILIZATION)
    except ValueError:
        with open(UTILIZATION) as file:
            return float(file.read())


def report():
    return orca_load_report_pb2.OrcaLoadReport(
        application_utilization=utilization(),
        cpu_utilization=0.99,
        rps_fractional=RPS,
        named_metrics={"prequal_rif": RIF, "prequal_latency_us": 1000 * (1 + RIF), "other": 7},
    )


def say_hello(request, context):
    if request != "silent":
        metadata = (("endpoint-load-metrics-bin", report().SerializeToString()),)
        context.set_trailing_metadata(metadata)
    return NAME


def stream(request, context):
    interval = request.report_interval.seconds + request.report_interval.nanos / 1e9
    print(json.dumps({"interval": interval, "costs": list(request.request_cost_names)}), flush=True)
    while context.is_active() and not STOP.is_set():
        yield report()
        STOP.wait(max(interval, 0.1))


def main():
    signal.signal(signal.SIGTERM, lambda *_: STOP.set())
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    unary = grpc.unary_unary_rpc_method_handler(say_hello, decode, encode)
    reports = grpc.unary_stream_rpc_method_handler(
        stream,
        orca_pb2.OrcaLoadReportRequest.FromString,
        orca_load_report_pb2.OrcaLoadReport.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("helloworld.Greeter", {"SayHello": unary}),
            grpc.method_handlers_generic_handler(
                "xds.service.orca.v3.OpenRcaService", {"StreamCoreMetrics": reports}
            ),
        )
    )
    server.add_insecure_port(f"127.0.0.1:{PORT}")
    server.start()
    STOP.wait()
    server.stop(1).wait()


main()
