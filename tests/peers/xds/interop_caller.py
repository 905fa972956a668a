"""gRPC C-core as the caller of `grpc.testing.TestService`, without generated code: a line of JSON for each call.

interop_caller.py PORT [BEHAVIOUR ...]    EmptyCall and UnaryCall with each `rpc-behavior`
"""

import json
import sys

import grpc

PORT, BEHAVIOURS = sys.argv[1], sys.argv[2:]


def main():
    with grpc.insecure_channel(f"127.0.0.1:{PORT}") as channel:
        for behaviour in BEHAVIOURS:
            for method in ("EmptyCall", "UnaryCall"):
                call = channel.unary_unary(
                    f"/grpc.testing.TestService/{method}",
                    request_serializer=bytes,
                    response_deserializer=bytes,
                )
                metadata = (("rpc-behavior", behaviour),)
                told = {"method": method, "behaviour": behaviour, "code": 0}
                try:
                    answer, made = call.with_call(b"", metadata=metadata, timeout=2 if behaviour == "keep-open" else 15)
                    told["hostname"] = dict(made.initial_metadata()).get("hostname")
                    told["answer"] = answer.hex()
                except grpc.RpcError as error:
                    told["code"] = error.code().value[0]
                print(json.dumps(told), flush=True)


main()
