"""What gRPC C-core and protobuf read of our status (CSDS): status_caller.py PORT NODE FILE

Asks the service at this port in all its ways, and reads the JSON in the file. Prints lines of
{"what": ..., ...}, of each answer what is told of this node, in protobuf's JSON, and `times` in milliseconds:

fetch            the answer to FetchClientStatus, with the contents of resources
stream           two answers of StreamClientStatus, without them
ended            that the stream ended when nothing more was asked
refused          the status of a request with node_matchers
json             what protobuf reads in the file: it knows every field, or this program fails
"""

import importlib
import json
import os
import sys
import threading

import grpc
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc
from envoy.type.matcher.v3 import node_pb2
from google.protobuf import json_format

PORT, NODE, FILE = sys.argv[1:]
# What resources are made of, so that their contents can be read.
for module in (
    "envoy.config.listener.v3.listener_pb2",
    "envoy.config.route.v3.route_pb2",
    "envoy.config.cluster.v3.cluster_pb2",
    "envoy.config.endpoint.v3.endpoint_pb2",
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "envoy.extensions.filters.http.router.v3.router_pb2",
    "envoy.extensions.upstreams.http.v3.http_protocol_options_pb2",
):
    importlib.import_module(module)


def times(clients):
    """When each resource came, and when each error was found."""
    out = {}
    for one in (one for client in clients for one in client.generic_xds_configs):
        key = f"{one.type_url} {one.name}"
        if one.HasField("last_updated"):
            out[key] = one.last_updated.ToMilliseconds()
        if one.HasField("error_state"):
            out[key + " error"] = one.error_state.last_update_attempt.ToMilliseconds()
    return out


def tell(what, answer):
    clients = [client for client in answer.config if client.node.id == NODE]
    told = [json_format.MessageToDict(client) for client in clients]
    print(json.dumps({"what": what, "clients": told, "times": times(clients)}))


def main():
    with grpc.insecure_channel(f"127.0.0.1:{PORT}") as channel:
        stub = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(channel)
        tell("fetch", stub.FetchClientStatus(csds_pb2.ClientStatusRequest(), timeout=10))

        bare = csds_pb2.ClientStatusRequest(exclude_resource_contents=True)
        answers = stub.StreamClientStatus(iter([bare, bare]), timeout=10)
        for answer in answers:
            tell("stream", answer)
        print(json.dumps({"what": "ended", "code": answers.code().name}))

        matching = csds_pb2.ClientStatusRequest(node_matchers=[node_pb2.NodeMatcher()])
        try:
            tell("refused", stub.FetchClientStatus(matching, timeout=10))
        except grpc.RpcError as error:
            print(json.dumps({"what": "refused", "code": error.code().name}))
    with open(FILE, encoding="utf-8") as file:
        tell("json", json_format.Parse(file.read(), csds_pb2.ClientStatusResponse()))


# What hangs is told, not waited for.
watch = threading.Timer(30, lambda: os._exit(2))
watch.daemon = True
watch.start()
main()
