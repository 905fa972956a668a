"""A scripted xDS control plane: plane.py PORT FOLDER

It says what FOLDER/state.json says, to each node by its id: {"resources": [RESOURCE, ...]}, each in
protobuf's JSON with its "@type". A file that replaces it is told to all streams. What is asked is
written to FOLDER/requests.jsonl, a line per request.

State of the world only. A list is told when one of the names asked for is there, and again when
it changes; what was told once and is gone is told by its absence. What is refused is not told again before
it changes. Listeners with an `api_listener` are for clients that ask by name, the others for who asks for all:
no names at all, and never any before. Who has given its last name up is told nothing.
Load reports are taken, too: see `loads.py`.
"""

import copy
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from concurrent import futures

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from envoy.service.load_stats.v3 import lrs_pb2_grpc
from google.protobuf import any_pb2, json_format

from loads import Loads

PORT, FOLDER = sys.argv[1], sys.argv[2]
STATE, REQUESTS = (os.path.join(FOLDER, name) for name in ("state.json", "requests.jsonl"))
PREFIX = "type.googleapis.com/"
KINDS = {
    PREFIX + "envoy.config.listener.v3.Listener": ("LDS", "name"),
    PREFIX + "envoy.config.route.v3.RouteConfiguration": ("RDS", "name"),
    PREFIX + "envoy.config.cluster.v3.Cluster": ("CDS", "name"),
    PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment": ("EDS", "clusterName"),
}
# What resources are made of, so that their JSON can be read.
for module in (
    "envoy.config.listener.v3.listener_pb2",
    "envoy.config.route.v3.route_pb2",
    "envoy.config.cluster.v3.cluster_pb2",
    "envoy.config.endpoint.v3.endpoint_pb2",
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "envoy.extensions.filters.http.fault.v3.fault_pb2",
    "envoy.extensions.filters.http.rbac.v3.rbac_pb2",
    "envoy.extensions.filters.http.router.v3.router_pb2",
    "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "envoy.extensions.upstreams.http.v3.http_protocol_options_pb2",
):
    importlib.import_module(module)


class Plane:
    """The state, and the version of each kind."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = None
        self.kinds = {url: (0, None) for url in KINDS}
        self.packed = {}
        self.log = open(REQUESTS, "a", buffering=1)
        self.read()

    def read(self):
        """Reads the file again if it is another one."""
        with self.lock:
            stat = os.stat(STATE)
            if (stat.st_ino, stat.st_mtime_ns) == self.seen:
                return
            with open(STATE) as file:
                resources = json.load(file)["resources"]
            self.seen = (stat.st_ino, stat.st_mtime_ns)
            for url, (version, before) in self.kinds.items():
                now = [resource for resource in resources if resource["@type"] == url]
                if now != before:
                    self.kinds[url] = (version + 1, now)
                    field = KINDS[url][1]
                    # Parsing writes to what it reads: once, not in the thread of each stream.
                    self.packed[url] = [
                        (it[field], "apiListener" in it, packed(copy.deepcopy(it))) for it in now
                    ]

    def of(self, url, names, everything):
        """The version of a kind, and those of its resources that are asked for."""
        with self.lock:
            version, told = self.kinds[url][0], self.packed[url]
        if everything:
            return str(version), [it for _, is_client, it in told if not is_client]
        return str(version), [it for name, _, it in told if name in names]


def packed(resource):
    return json_format.ParseDict(resource, any_pb2.Any())


PLANE = Plane()


class Told:
    """What one stream asks of a kind, and what it was told last."""

    def __init__(self):
        self.names, self.version, self.answered = None, None, False
        # No list of names so far had one.
        self.everything = True


class Discovery(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    def StreamAggregatedResources(self, requests, context):
        inbox = queue.Queue()

        def read():
            try:
                for request in requests:
                    inbox.put(request)
            except Exception:
                pass
            inbox.put(None)

        threading.Thread(target=read, daemon=True).start()
        kinds, node, nonce = {}, "", 0
        while context.is_active():
            asked = None
            try:
                request = inbox.get(timeout=0.02)
                if request is None:
                    return
                node = request.node.id or node
                log(node, request)
                if request.type_url not in KINDS:
                    continue
                told = kinds.setdefault(request.type_url, Told())
                names = sorted(request.resource_names)
                told.everything = told.everything and not names
                if names != told.names:
                    told.names, asked = names, request.type_url
            except queue.Empty:
                PLANE.read()
            for url, told in kinds.items():
                version, resources = PLANE.of(url, told.names, told.everything)
                if url != asked and version == told.version:
                    continue
                told.version = version
                if not told.names and not told.everything:
                    continue
                kind = KINDS[url][0]
                # Nothing to say, and nothing to take back: the client's own timer decides.
                if not resources and not (told.answered and kind in ("LDS", "CDS")):
                    continue
                told.answered = True
                nonce += 1
                yield discovery_pb2.DiscoveryResponse(
                    version_info=version, nonce=str(nonce), type_url=url, resources=resources
                )


def log(node, request):
    line = {
        "node": node,
        "kind": KINDS.get(request.type_url, (request.type_url,))[0],
        "names": sorted(request.resource_names),
        "version": request.version_info,
        "nonce": request.response_nonce,
        "error": request.error_detail.message if request.HasField("error_detail") else None,
        "at": time.time(),
    }
    with PLANE.lock:
        PLANE.log.write(json.dumps(line) + "\n")


def main():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(Discovery(), server)
    lrs_pb2_grpc.add_LoadReportingServiceServicer_to_server(Loads(FOLDER), server)
    server.add_insecure_port(f"127.0.0.1:{PORT}")
    server.start()
    stop.wait()
    server.stop(None)
    os._exit(0)


main()
