// go-control-plane as the control plane: plane PORT FOLDER snapshot|linear
//
// Its caches, and its server of both protocols, as they are. It says what FOLDER/state.json says, and
// writes what is asked to FOLDER/requests.jsonl: see ../../plane.py.
package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

var kinds = map[string]string{
	resource.ListenerType: "LDS",
	resource.RouteType:    "RDS",
	resource.ClusterType:  "CDS",
	resource.EndpointType: "EDS",
}

// What a type is called in the log: that of secrets is known, but no cache has any.
func short(url string) string {
	if url == resource.SecretType {
		return "SDS"
	}
	return kinds[url]
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func name(it types.Resource) string {
	switch it := it.(type) {
	case *listener.Listener:
		return it.Name
	case *route.RouteConfiguration:
		return it.Name
	case *cluster.Cluster:
		return it.Name
	case *endpoint.ClusterLoadAssignment:
		return it.ClusterName
	}
	panic("a resource of another kind")
}

// The state, by type.
func read(path string) map[string][]types.Resource {
	text, err := os.ReadFile(path)
	must(err)
	var state struct{ Resources []json.RawMessage }
	must(json.Unmarshal(text, &state))
	out := map[string][]types.Resource{}
	for url := range kinds {
		out[url] = nil
	}
	for _, raw := range state.Resources {
		var packed anypb.Any
		must(protojson.Unmarshal(raw, &packed))
		message, err := packed.UnmarshalNew()
		must(err)
		out[packed.TypeUrl] = append(out[packed.TypeUrl], message)
	}
	return out
}

// One state for every node.
type everyone struct{}

func (everyone) ID(*core.Node) string { return "all" }

// The cache, and what gives it another state.
func caches(kind string) (cache.Cache, func(map[string][]types.Resource)) {
	if kind == "snapshot" {
		snapshots, version := cache.NewSnapshotCache(true, everyone{}, nil), 0
		return snapshots, func(state map[string][]types.Resource) {
			version++
			snapshot, err := cache.NewSnapshot(strconv.Itoa(version), state)
			must(err)
			must(snapshots.SetSnapshot(context.Background(), "all", snapshot))
		}
	}
	linear, all := map[string]*cache.LinearCache{}, map[string]cache.Cache{}
	for url := range kinds {
		linear[url] = cache.NewLinearCache(url)
		all[url] = linear[url]
	}
	mux := &cache.MuxCache{
		Classify:      func(it *cache.Request) string { return it.TypeUrl },
		ClassifyDelta: func(it *cache.DeltaRequest) string { return it.TypeUrl },
		Caches:        all,
	}
	before := map[string]string{}
	return mux, func(state map[string][]types.Resource) {
		for url, cache := range linear {
			changed, gone := map[string]types.Resource{}, []string{}
			now := map[string]bool{}
			for _, it := range state[url] {
				key, text := name(it), protojson.Format(it)
				now[key] = true
				if before[url+key] != text {
					changed[key], before[url+key] = it, text
				}
			}
			for key := range cache.GetResources() {
				if !now[key] {
					gone = append(gone, key)
					delete(before, url+key)
				}
			}
			if len(changed)+len(gone) > 0 {
				must(cache.UpdateResources(changed, gone))
			}
		}
	}
}

type line struct {
	Stream  int64             `json:"stream"`
	Node    string            `json:"node"`
	Kind    string            `json:"kind"`
	Names   []string          `json:"names"`
	Gone    []string          `json:"gone,omitempty"`
	Initial map[string]string `json:"initial,omitempty"`
	Version string            `json:"version"`
	Nonce   string            `json:"nonce"`
	Error   *string           `json:"error"`
	Sent    bool              `json:"sent,omitempty"`
}

func main() {
	folder := os.Args[2]
	log, err := os.OpenFile(filepath.Join(folder, "requests.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(err)
	var lock sync.Mutex
	write := func(it line) {
		lock.Lock()
		defer lock.Unlock()
		text, _ := json.Marshal(it)
		_, _ = log.Write(append(text, '\n'))
	}
	refused := func(it *status.Status) *string {
		if it == nil {
			return nil
		}
		return &it.Message
	}
	told := func(it *core.Node) string { return it.GetId() }
	callbacks := server.CallbackFuncs{
		StreamRequestFunc: func(stream int64, it *discovery.DiscoveryRequest) error {
			write(line{Stream: stream, Node: told(it.Node), Kind: short(it.TypeUrl), Names: it.ResourceNames, Version: it.VersionInfo,
				Nonce: it.ResponseNonce, Error: refused(it.ErrorDetail)})
			return nil
		},
		StreamDeltaRequestFunc: func(stream int64, it *discovery.DeltaDiscoveryRequest) error {
			write(line{Stream: stream, Node: told(it.Node), Kind: short(it.TypeUrl), Names: it.ResourceNamesSubscribe,
				Gone: it.ResourceNamesUnsubscribe, Initial: it.InitialResourceVersions,
				Nonce: it.ResponseNonce, Error: refused(it.ErrorDetail)})
			return nil
		},
		StreamResponseFunc: func(_ context.Context, stream int64, _ *discovery.DiscoveryRequest, it *discovery.DiscoveryResponse) {
			write(line{Stream: stream, Kind: short(it.TypeUrl), Version: it.VersionInfo, Nonce: it.Nonce, Sent: true})
		},
		StreamDeltaResponseFunc: func(stream int64, _ *discovery.DeltaDiscoveryRequest, it *discovery.DeltaDiscoveryResponse) {
			names := []string{}
			for _, one := range it.Resources {
				names = append(names, one.Name)
			}
			write(line{Stream: stream, Kind: short(it.TypeUrl), Names: names, Gone: it.RemovedResources, Nonce: it.Nonce, Sent: true})
		},
	}
	state := filepath.Join(folder, "state.json")
	all, set := caches(os.Args[3])
	seen, err := os.Stat(state)
	must(err)
	set(read(state))
	go func() {
		for {
			time.Sleep(10 * time.Millisecond)
			if now, err := os.Stat(state); err == nil && (!os.SameFile(now, seen) || now.ModTime() != seen.ModTime()) {
				seen = now
				set(read(state))
			}
		}
	}()
	socket, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	must(err)
	served := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(served, server.NewServer(context.Background(), all, callbacks))
	must(served.Serve(socket))
}
