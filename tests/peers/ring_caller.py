"""Which endpoint gRPC C-core's ring hash chooses: ring_caller.py KEYS PORT=WEIGHT ...

An xDS control plane and its client in one process: the plane says one listener, one cluster of RING_HASH
on the header `x-user`, and the endpoints in the order given, with their weights. The client calls
helloworld.Greeter for each of so many keys, and prints who answered, a line each.
"""

import json
import os
import sys
import threading
from concurrent import futures

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import any_pb2, wrappers_pb2

from messages import decode, encode

KEYS = int(sys.argv[1])
ENDPOINTS = [tuple(map(int, arg.split("="))) for arg in sys.argv[2:]]


def packed(message):
    out = any_pb2.Any()
    out.Pack(message)
    return out


def number(value):
    return wrappers_pb2.UInt32Value(value=value)


def ads():
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version="V3"
    )


def listener():
    hash_policy = route_components_pb2.RouteAction.HashPolicy(
        header=route_components_pb2.RouteAction.HashPolicy.Header(header_name="x-user")
    )
    route = route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(prefix=""),
        route=route_components_pb2.RouteAction(cluster="greeters", hash_policy=[hash_policy]),
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


def cluster():
    ring = cluster_pb2.Cluster.RingHashLbConfig(
        minimum_ring_size=wrappers_pb2.UInt64Value(value=1024),
        maximum_ring_size=wrappers_pb2.UInt64Value(value=4096),
    )
    return cluster_pb2.Cluster(
        name="greeters",
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads()),
        lb_policy=cluster_pb2.Cluster.RING_HASH,
        ring_hash_lb_config=ring,
    )


def endpoints():
    def one(port, weight):
        socket = address_pb2.SocketAddress(address="127.0.0.1", port_value=port)
        return endpoint_components_pb2.LbEndpoint(
            endpoint=endpoint_components_pb2.Endpoint(
                address=address_pb2.Address(socket_address=socket)
            ),
            load_balancing_weight=number(weight),
        )

    locality = endpoint_components_pb2.LocalityLbEndpoints(
        locality=base_pb2.Locality(zone="here"),
        lb_endpoints=[one(port, weight) for port, weight in ENDPOINTS],
        load_balancing_weight=number(1),
    )
    return endpoint_pb2.ClusterLoadAssignment(cluster_name="greeters", endpoints=[locality])


class Plane(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """Says each resource once."""

    def __init__(self):
        resources = [packed(resource) for resource in (listener(), cluster(), endpoints())]
        self.resources = {resource.type_url: resource for resource in resources}

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


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(Plane(), server)
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
    # What hangs is told, not waited for.
    threading.Timer(60, lambda: os._exit(2)).start()
    with grpc.insecure_channel("xds:///greeter") as channel:
        say = channel.unary_unary("/helloworld.Greeter/SayHello", encode, decode)
        for key in range(KEYS):
            metadata = (("x-user", f"user-{key}"),)
            print(say("", timeout=10, wait_for_ready=True, metadata=metadata))
    server.stop(None)
    sys.stdout.flush()
    os._exit(0)


main()
