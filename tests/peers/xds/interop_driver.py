"""A test driver on gRPC C-core, as those of gRPC's interop tests of xDS are: interop_driver.py

It is told what to call line by line: {"port": 8081, "method": "grpc.testing.LoadBalancerStatsService/GetClientStats",
"request": {...}, "timeout": 20, "metadata": {...}}. It says what came of it, a line for each: {"answer": {...},
"initial": {...}}, or {"code": 14, "text": "..."}. Messages are in protobuf's JSON; protobuf's own library reads and
writes them, by the descriptors below.
"""

import json
import os
import sys

import grpc
from envoy.service.status.v3 import csds_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

# Enough of `grpc/testing/messages.proto` and `grpc/health/v1/health.proto`.
MESSAGES = {
    "grpc.testing": {
        "Empty": [],
        "Payload": ["bytes body = 2"],
        "EchoStatus": ["int32 code = 1", "string message = 2"],
        "SimpleRequest": ["int32 response_size = 2", "Payload payload = 3", "EchoStatus response_status = 7",
                          "bool fill_server_id = 9"],
        "SimpleResponse": ["Payload payload = 1", "string server_id = 4", "string hostname = 6"],
        "LoadBalancerStatsRequest": ["int32 num_rpcs = 1", "int32 timeout_sec = 2", "repeated string metadata_keys = 3"],
        "MetadataEntry": ["string key = 1", "string value = 2", "int32 type = 3"],
        "RpcMetadata": ["repeated MetadataEntry metadata = 1"],
        "MetadataByPeer": ["repeated RpcMetadata rpc_metadata = 1"],
        "RpcsByPeer": ["map string int32 rpcs_by_peer = 1"],
        "LoadBalancerStatsResponse": ["map string int32 rpcs_by_peer = 1", "int32 num_failures = 2",
                                      "map string RpcsByPeer rpcs_by_method = 3",
                                      "map string MetadataByPeer metadatas_by_peer = 4"],
        "LoadBalancerAccumulatedStatsRequest": [],
        "MethodStats": ["int32 rpcs_started = 1", "map int32 int32 result = 2"],
        "LoadBalancerAccumulatedStatsResponse": ["map string int32 num_rpcs_started_by_method = 1",
                                                 "map string int32 num_rpcs_succeeded_by_method = 2",
                                                 "map string int32 num_rpcs_failed_by_method = 3",
                                                 "map string MethodStats stats_per_method = 4"],
        "Metadata": ["int32 type = 1", "string key = 2", "string value = 3"],
        "ClientConfigureRequest": ["repeated int32 types = 1", "repeated Metadata metadata = 2", "int32 timeout_sec = 3"],
        "ClientConfigureResponse": [],
    },
    "grpc.health.v1": {
        "HealthCheckRequest": ["string service = 1"],
        # UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN.
        "HealthCheckResponse": ["int32 status = 1"],
    },
}
METHODS = {
    "grpc.testing.TestService/EmptyCall": ("Empty", "Empty"),
    "grpc.testing.TestService/UnaryCall": ("SimpleRequest", "SimpleResponse"),
    "grpc.testing.LoadBalancerStatsService/GetClientStats": ("LoadBalancerStatsRequest", "LoadBalancerStatsResponse"),
    "grpc.testing.LoadBalancerStatsService/GetClientAccumulatedStats": (
        "LoadBalancerAccumulatedStatsRequest", "LoadBalancerAccumulatedStatsResponse"),
    "grpc.testing.XdsUpdateClientConfigureService/Configure": ("ClientConfigureRequest", "ClientConfigureResponse"),
    "grpc.testing.XdsUpdateHealthService/SetServing": ("Empty", "Empty"),
    "grpc.testing.XdsUpdateHealthService/SetNotServing": ("Empty", "Empty"),
    "grpc.testing.XdsUpdateHealthService/SendHookRequest": ("Empty", "Empty"),
    "grpc.health.v1.Health/Check": ("HealthCheckRequest", "HealthCheckResponse"),
}
CSDS = "envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"
FIELD = descriptor_pb2.FieldDescriptorProto
SCALARS = {"bool": FIELD.TYPE_BOOL, "bytes": FIELD.TYPE_BYTES, "int32": FIELD.TYPE_INT32, "string": FIELD.TYPE_STRING}


def add(message, package, kind, name, number, repeated=False):
    field = message.field.add(name=name, number=int(number), label=FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL)
    if kind in SCALARS:
        field.type = SCALARS[kind]
    else:
        field.type, field.type_name = FIELD.TYPE_MESSAGE, f".{package}.{kind}"


def declare(message, package, line):
    words = line.replace("=", " ").split()
    if words[0] == "map":
        _, key, value, name, number = words
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        add(entry, package, key, "key", 1)
        add(entry, package, value, "value", 2)
        add(message, package, f"{message.name}.{entry.name}", name, number, repeated=True)
    elif words[0] == "repeated":
        add(message, package, *words[1:], repeated=True)
    else:
        add(message, package, *words)


def classes():
    pool, found = descriptor_pool.DescriptorPool(), {}
    for package, messages in MESSAGES.items():
        file = descriptor_pb2.FileDescriptorProto(name=package + ".proto", package=package, syntax="proto3")
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for line in fields:
                declare(message, package, line)
        pool.Add(file)
        for name in messages:
            found[name] = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
    return found


CLASSES = classes()


def channel(port, cache={}):
    if port not in cache:
        # What has been down is to be found again at once.
        options = [("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 100)]
        cache[port] = grpc.insecure_channel(f"127.0.0.1:{port}", options)
    return cache[port]


def call(asked):
    method = asked["method"]
    if method == CSDS:
        kinds = csds_pb2.ClientStatusRequest, csds_pb2.ClientStatusResponse
        asked["request"] = {"excludeResourceContents": True}
    else:
        # A method that nobody knows has nothing to say.
        kinds = [CLASSES[name] for name in METHODS.get(method, ("Empty", "Empty"))]
    request = json_format.ParseDict(asked.get("request", {}), kinds[0]())
    stub = channel(asked["port"]).unary_unary("/" + method, kinds[0].SerializeToString, kinds[1].FromString)
    metadata = list(asked.get("metadata", {}).items())
    try:
        answer, made = stub.with_call(request, metadata=metadata, timeout=asked.get("timeout", 20), wait_for_ready=True)
    except grpc.RpcError as error:
        return {"code": error.code().value[0], "text": error.details()}
    initial = {key: value for key, value in made.initial_metadata() if isinstance(value, str)}
    return {"answer": json_format.MessageToDict(answer), "initial": initial}


print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(call(json.loads(line))), flush=True)
os._exit(0)
