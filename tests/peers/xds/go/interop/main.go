// grpc-go's side of gRPC's interop tests of xDS, with its own stubs. It prints what it is told as JSON.
//
//	interop call ADDRESS BEHAVIOUR        calls a server: EmptyCall, then UnaryCall
//	interop next ADDRESS COUNT            asks a client who answers its next calls
//	interop all ADDRESS                   asks a client what has become of all its calls
//	interop configure ADDRESS KEY VALUE   has a client make UnaryCalls with this metadata, EmptyCalls without
//	interop serve PORT NAME               is a server
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func say(it proto.Message) {
	text, err := protojson.Marshal(it)
	must(err)
	fmt.Println(string(text))
}

type server struct {
	pb.UnimplementedTestServiceServer
	name string
}

func (s server) tell(ctx context.Context) {
	must(grpc.SetHeader(ctx, metadata.Pairs("hostname", s.name)))
}

func (s server) EmptyCall(ctx context.Context, _ *pb.Empty) (*pb.Empty, error) {
	s.tell(ctx)
	return &pb.Empty{}, nil
}

func (s server) UnaryCall(ctx context.Context, it *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	s.tell(ctx)
	body := make([]byte, it.ResponseSize)
	return &pb.SimpleResponse{Hostname: s.name, ServerId: "go", Payload: &pb.Payload{Body: body}}, nil
}

func call(conn *grpc.ClientConn, behaviour string) {
	ctx, end := context.WithTimeout(context.Background(), 10*time.Second)
	defer end()
	ctx = metadata.AppendToOutgoingContext(ctx, "rpc-behavior", behaviour)
	tests := pb.NewTestServiceClient(conn)
	var header metadata.MD
	_, err := tests.EmptyCall(ctx, &pb.Empty{}, grpc.Header(&header))
	fmt.Printf("{\"code\": %d, \"hostname\": %q}\n", status.Code(err), append(header["hostname"], "")[0])
	it, err := tests.UnaryCall(ctx, &pb.SimpleRequest{FillServerId: true, ResponseSize: 9})
	fmt.Printf("{\"code\": %d, \"hostname\": %q, \"server_id\": %q, \"size\": %d}\n", status.Code(err),
		it.GetHostname(), it.GetServerId(), len(it.GetPayload().GetBody()))
}

func main() {
	what, where := os.Args[1], os.Args[2]
	if what == "serve" {
		socket, err := net.Listen("tcp", "127.0.0.1:"+where)
		must(err)
		served := grpc.NewServer()
		pb.RegisterTestServiceServer(served, server{name: os.Args[3]})
		must(served.Serve(socket))
	}
	conn, err := grpc.NewClient(where, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	ctx, stats := context.Background(), pb.NewLoadBalancerStatsServiceClient(conn)
	switch what {
	case "call":
		call(conn, os.Args[3])
	case "next":
		count, err := strconv.Atoi(os.Args[3])
		must(err)
		it, err := stats.GetClientStats(ctx, &pb.LoadBalancerStatsRequest{NumRpcs: int32(count), TimeoutSec: 20,
			MetadataKeys: []string{"hostname"}})
		must(err)
		say(it)
	case "all":
		it, err := stats.GetClientAccumulatedStats(ctx, &pb.LoadBalancerAccumulatedStatsRequest{})
		must(err)
		say(it)
	case "configure":
		kind := pb.ClientConfigureRequest_UNARY_CALL
		it, err := pb.NewXdsUpdateClientConfigureServiceClient(conn).Configure(ctx, &pb.ClientConfigureRequest{
			Types:    []pb.ClientConfigureRequest_RpcType{pb.ClientConfigureRequest_EMPTY_CALL, kind},
			Metadata: []*pb.ClientConfigureRequest_Metadata{{Type: kind, Key: os.Args[3], Value: os.Args[4]}},
		})
		must(err)
		say(it)
	}
}
