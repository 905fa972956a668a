// Calls by grpc-go's xDS client, as it is told line by line: see ../../caller.py, whose answers are the same.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "google.golang.org/grpc/xds"
)

type asked struct {
	Target  string            `json:"target"`
	Count   int               `json:"count"`
	Headers map[string]string `json:"headers"`
	Timeout float64           `json:"timeout"`
}

type outcome struct {
	Who  *string `json:"who,omitempty"`
	Code *int    `json:"code,omitempty"`
	Text string  `json:"text,omitempty"`
	Ms   float64 `json:"ms"`
}

var channels = map[string]*grpc.ClientConn{}

func channel(target string) *grpc.ClientConn {
	if channels[target] == nil {
		var creds credentials.TransportCredentials = insecure.NewCredentials()
		if os.Getenv("TLS") != "" {
			var err error
			creds, err = xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: creds})
			if err != nil {
				panic(err)
			}
		}
		made, err := grpc.NewClient("xds:///"+target, grpc.WithTransportCredentials(creds))
		if err != nil {
			panic(err)
		}
		channels[target] = made
	}
	return channels[target]
}

func call(it asked, number int) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(it.Timeout*float64(time.Second)))
	defer cancel()
	for key, value := range it.Headers {
		ctx = metadata.AppendToOutgoingContext(ctx, key, strings.ReplaceAll(value, "{n}", strconv.Itoa(number)))
	}
	// A message of one string field, as the greeter's are.
	var reply wrapperspb.StringValue
	began := time.Now()
	err := channel(it.Target).Invoke(ctx, "/helloworld.Greeter/SayHello", &wrapperspb.StringValue{}, &reply)
	out := outcome{Ms: float64(time.Since(began).Microseconds()) / 1000}
	if err != nil {
		said := status.Convert(err)
		code := int(said.Code())
		out.Code, out.Text = &code, said.Message()
	} else {
		out.Who = &reply.Value
	}
	return out
}

func main() {
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var it asked
		if err := json.Unmarshal(lines.Bytes(), &it); err != nil {
			panic(err)
		}
		outcomes := []outcome{}
		for number := range it.Count {
			outcomes = append(outcomes, call(it, number))
		}
		line, _ := json.Marshal(outcomes)
		fmt.Println(string(line))
	}
}
