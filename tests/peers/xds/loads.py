"""A load reporting service (LRS) beside the scripted control plane.

It wants what FOLDER/loads.json says: a LoadStatsResponse in protobuf's JSON. A file that replaces it is told on
the streams that are open. What clients tell is written to FOLDER/loads.jsonl, a line per request:
{"stream": NUMBER, "at": SECONDS, "told": LoadStatsRequest in protobuf's JSON}; a stream that its client has ended
is {"stream": NUMBER, "at": SECONDS, "ended": true}.
"""

import itertools
import json
import os
import queue
import threading
import time

from envoy.service.load_stats.v3 import lrs_pb2, lrs_pb2_grpc
from google.protobuf import json_format


class Loads(lrs_pb2_grpc.LoadReportingServiceServicer):
    def __init__(self, folder):
        self.wish = os.path.join(folder, "loads.json")
        self.log = open(os.path.join(folder, "loads.jsonl"), "a", buffering=1)
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)

    def StreamLoadStats(self, requests, context):
        stream, inbox = next(self.numbers), queue.Queue()
        threading.Thread(target=self.read, args=(stream, requests, inbox), daemon=True).start()
        # Who asks is told first: until then there is nobody to want something of.
        is_open, wanted = inbox.get(), None
        while is_open and context.is_active():
            wish = self.wished()
            if wish is not None and wish != wanted:
                wanted = wish
                yield json_format.Parse(wish, lrs_pb2.LoadStatsResponse())
            try:
                is_open = inbox.get(timeout=0.02)
            except queue.Empty:
                pass

    def read(self, stream, requests, inbox):
        """Writes all down that comes on a stream, and says that something came, or that it is over."""
        try:
            for request in requests:
                self.write(stream, told=json_format.MessageToDict(request))
                inbox.put(True)
            self.write(stream, ended=True)
        except Exception:
            # It was broken off.
            pass
        inbox.put(False)

    def write(self, stream, **what):
        line = json.dumps({"stream": stream, "at": time.monotonic(), **what})
        with self.lock:
            self.log.write(line + "\n")

    def wished(self):
        try:
            with open(self.wish) as file:
                return file.read()
        except FileNotFoundError:
            return None
