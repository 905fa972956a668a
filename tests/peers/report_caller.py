"""What gRPC C-core reads of our load reports.

report_caller.py read BASE64              prints the report in a trailer as JSON: C-core keeps it to itself
report_caller.py stream PORT COUNT        prints so many reports of the stream as JSON, a line each
report_caller.py weighted CALLS oob|calls PORT ...
    an xDS control plane and its client in one process: one cluster of client_side_weighted_round_robin
    over these ports. Calls for some seconds, then prints who answered each of so many calls.
"""

import base64
import json
import os
import sys
import threading
import time
from concurrent import futures

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, extension_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    client_side_weighted_round_robin_pb2 as weighted_pb2,
)
from envoy.extensions.load_balancing_policies.wrr_locality.v3 import wrr_locality_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import any_pb2, duration_pb2, json_format, wrappers_pb2
from xds.data.orca.v3 import orca_load_report_pb2
from xds.service.orca.v3 import orca_pb2

from messages import decode, encode

WHAT, ARGUMENTS = sys.argv[1], sys.argv[2:]
REPORT = orca_load_report_pb2.OrcaLoadReport


def as_json(report):
    return json_format.MessageToJson(report, preserving_proto_field_name=True, indent=None)


def read(value):
    print(as_json(REPORT.FromString(base64.b64decode(value, validate=True))))


def stream(port, count):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_stream(
            "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics",
            orca_pb2.OrcaLoadReportRequest.SerializeToString,
            REPORT.FromString,
        )
        interval = duration_pb2.Duration(nanos=100_000_000)
        call = method(orca_pb2.OrcaLoadReportRequest(report_interval=interval), timeout=20)
        for _, report in zip(range(int(count)), call):
            print(as_json(report))
        call.cancel()


def packed(message):
    out = any_pb2.Any()
    out.Pack(message)
    return out


def ads():
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version="V3"
    )


def listener():
    route = route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(prefix=""),
        route=route_components_pb2.RouteAction(cluster="greeters"),
    )
    host = route_components_pb2.VirtualHost(name="all", domains=["*"], routes=[route])
    manager = manager_pb2.HttpConnectionManager(
        route_config=route_pb2.RouteConfiguration(name="all", virtual_hosts=[host]),
        http_filters=[
            manager_pb2.HttpFilter(name="router", typed_config=packed(router_pb2.Router()))
        ],
    )
    return listener_pb2.Listener(
        name="greeter", api_listener=api_listener_pb2.ApiListener(api_listener=packed(manager))
    )


def policy(name, message):
    config = extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(message))
    inner = cluster_pb2.LoadBalancingPolicy.Policy(typed_extension_config=config)
    return cluster_pb2.LoadBalancingPolicy(policies=[inner])


def cluster(out_of_band):
    period = duration_pb2.Duration(nanos=100_000_000)
    weighted = weighted_pb2.ClientSideWeightedRoundRobin(
        enable_oob_load_report=wrappers_pb2.BoolValue(value=out_of_band),
        oob_reporting_period=period,
        blackout_period=duration_pb2.Duration(),
        weight_update_period=period,
    )
    weighted.blackout_period.SetInParent()
    local = wrr_locality_pb2.WrrLocality(endpoint_picking_policy=policy("weighted", weighted))
    return cluster_pb2.Cluster(
        name="greeters",
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads()),
        load_balancing_policy=policy("local", local),
    )


def endpoints(ports):
    def one(port):
        socket = address_pb2.SocketAddress(address="127.0.0.1", port_value=port)
        return endpoint_components_pb2.LbEndpoint(
            endpoint=endpoint_components_pb2.Endpoint(
                address=address_pb2.Address(socket_address=socket)
            )
        )

    locality = endpoint_components_pb2.LocalityLbEndpoints(
        locality=base_pb2.Locality(zone="here"),
        lb_endpoints=[one(port) for port in ports],
        load_balancing_weight=wrappers_pb2.UInt32Value(value=1),
    )
    return endpoint_pb2.ClusterLoadAssignment(cluster_name="greeters", endpoints=[locality])


class Plane(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """Says each resource once."""

    def __init__(self, *resources):
        self.resources = {any.type_url: any for any in map(packed, resources)}

    def StreamAggregatedResources(self, requests, context):
        for request in requests:
            if request.HasField("error_detail"):
                print(request.error_detail.message, file=sys.stderr)
                os._exit(1)
            resource = self.resources.get(request.type_url)
            if resource is None or request.version_info:
                continue
            yield discovery_pb2.DiscoveryResponse(
                version_info="1", nonce="1", type_url=request.type_url, resources=[resource]
            )


def weighted(calls, how, *ports):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    plane = Plane(listener(), cluster(how == "oob"), endpoints([int(port) for port in ports]))
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(plane, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps(
        {
            "xds_servers": [
                {
                    "server_uri": f"127.0.0.1:{port}",
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {"id": "caller"},
        }
    )
    with grpc.insecure_channel("xds:///greeter") as channel:
        say = channel.unary_unary("/helloworld.Greeter/SayHello", encode, decode)
        # Every server has reported, and the weights have been computed.
        end = time.monotonic() + 3
        while time.monotonic() < end:
            say("", timeout=10, wait_for_ready=True)
            time.sleep(0.01)
        for _ in range(int(calls)):
            print(say("", timeout=10))
    server.stop(None)


# What hangs is told, not waited for.
threading.Timer(60, lambda: os._exit(2)).start()
{"read": read, "stream": stream, "weighted": weighted}[WHAT](*ARGUMENTS)
sys.stdout.flush()
os._exit(0)
