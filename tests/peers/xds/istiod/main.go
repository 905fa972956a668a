// istiod's own generators without a cluster: istiod FOLDER [PORT]
//
// It reads the YAML in FOLDER: Istio's kinds, and Services, EndpointSlices and Pods of Kubernetes. When a file there
// changes, comes or goes, so does what it stands for. It is asked at the Unix socket FOLDER/XDS, as Istio's agent is.
// What is asked and answered is written to FOLDER/wire.jsonl; to FOLDER/applied, the text of the YAML whose services, and the
// routes to them, answers are made of from then on.
//
// With a PORT it is asked there, too, as istiod itself is at 15012: by TLS with FOLDER/tls.crt and tls.key, by who proves
// by a certificate of FOLDER/root-cert.pem, or by a token of the keys in FOLDER/jwks.json, to be the pod that it says it is.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/anypb"
	core "k8s.io/api/core/v1"
	slice "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	networking "istio.io/api/networking/v1alpha3"
	rules "istio.io/api/security/v1beta1"
	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/host"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/security"
	"istio.io/istio/pkg/util/sets"
	"istio.io/istio/security/pkg/server/ca/authenticate"
)

// Who issues the tokens of pods, and for whom.
const (
	issuer   = "https://kubernetes.default.svc.cluster.local"
	audience = "istio-ca"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// What its test kit wants instead of a test. It never ends: its process does.
type program struct{}

func (program) Fail()                     { panic("it fails") }
func (program) FailNow()                  { panic("it fails") }
func (program) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (program) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (program) Log(args ...any)           { fmt.Println(args...) }
func (program) Logf(f string, a ...any)   { fmt.Printf(f+"\n", a...) }
func (program) TempDir() string           { return os.TempDir() }
func (program) Helper()                   {}
func (program) Cleanup(func())            {}
func (program) Skip(args ...any)          { panic(fmt.Sprint(args...)) }

// What the folder says, by kind and name, and the text that says it.
type state struct {
	configs map[string]config.Config
	objects map[string]runtime.Object
	text    string
}

func read(folder string) state {
	out := state{configs: map[string]config.Config{}, objects: map[string]runtime.Object{}}
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	must(err)
	decode := kube.IstioCodec.UniversalDeserializer().Decode
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(err)
		out.text += string(text)
		for _, part := range strings.Split("\n"+string(text), "\n---\n") {
			var head meta.TypeMeta
			must(yaml.Unmarshal([]byte(part), &head))
			if head.Kind == "" {
				continue
			}
			if strings.Contains(head.APIVersion, "istio.io/") {
				configs, unknown, err := crd.ParseInputs(part)
				must(err)
				if len(unknown) > 0 {
					panic(fmt.Sprintf("%s: %v", file, unknown))
				}
				for _, it := range configs {
					out.configs[it.GroupVersionKind.Kind+"/"+it.Namespace+"/"+it.Name] = it
				}
				continue
			}
			object, kind, err := decode([]byte(part), nil, nil)
			must(err)
			named := object.(meta.Object)
			out.objects[kind.Kind+"/"+named.GetNamespace()+"/"+named.GetName()] = object
		}
	}
	return out
}

// What the names that clients ask for come of: the hosts of services, and the virtual services that route calls to them.
type known struct {
	hosts  sets.String
	routes sets.Set[types.NamespacedName]
}

func (s state) known() known {
	out := known{sets.New[string](), sets.New[types.NamespacedName]()}
	for _, it := range s.configs {
		switch spec := it.Spec.(type) {
		case *networking.ServiceEntry:
			out.hosts.InsertAll(spec.Hosts...)
		case *networking.VirtualService:
			// One without hosts is a part of others.
			isMesh := len(spec.Gateways) == 0 || slices.Contains(spec.Gateways, constants.IstioMeshGateway)
			if len(spec.Hosts) > 0 && isMesh {
				out.routes.Insert(types.NamespacedName{Namespace: it.Namespace, Name: it.Name})
			}
		}
	}
	for _, it := range s.objects {
		if service, ok := it.(*core.Service); ok {
			out.hosts.Insert(service.Name + "." + service.Namespace + ".svc.cluster.local")
		}
	}
	return out
}

// Which of these are in what answers are made of, or which are not.
func (k known) in(push *model.PushContext, are bool) []string {
	var out []string
	for it := range k.hosts {
		has := len(push.ServiceIndex.HostnameAndNamespace[host.Name(it)]) > 0
		if has == are {
			out = append(out, it)
		}
	}
	for it := range k.routes {
		has := slices.ContainsFunc(push.VirtualServicesForGateway(it.Namespace, constants.IstioMeshGateway),
			func(route *config.Config) bool { return route.Namespace == it.Namespace && route.Name == it.Name })
		if has == are {
			out = append(out, it.String())
		}
	}
	return out
}

// Waits until answers are made of all that are there, and of none that are gone.
func settle(to *xds.FakeDiscoveryServer, there, gone known) {
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		push := to.PushContext()
		missing, left := there.in(push, false), gone.in(push, true)
		if len(missing)+len(left) == 0 {
			return
		}
		if time.Since(began) > 15*time.Second {
			panic(fmt.Sprintf("istiod does not come to know %v, nor to forget %v", missing, left))
		}
	}
}

// Applies what is different; what was there, and is not any more, is deleted.
//
// istiod hears of each kind by itself and pushes at once (its test kit does not debounce), so what is applied is as many
// pushes as the machine happens to make of it. A service whose virtual service is not there leads to its cluster of all
// endpoints. If such a push goes out, a client asks for that cluster, and is told of a name that is in neither YAML. So a
// service is there only while the routes to it are: they come before it, and go when istiod has forgotten it.
func apply(to *xds.FakeDiscoveryServer, before, now state) {
	was, is := before.known(), now.known()
	store := to.Store()
	isService := func(it config.Config) bool { return it.GroupVersionKind.Kind == "ServiceEntry" }
	put := func(services bool) {
		for key, it := range now.configs {
			if isService(it) != services {
				continue
			}
			old, ok := before.configs[key]
			var err error
			if !ok {
				_, err = store.Create(it)
			} else if !reflect.DeepEqual(old.Spec, it.Spec) {
				_, err = store.Update(it)
			}
			must(err)
		}
	}
	drop := func(services bool) {
		for key, it := range before.configs {
			if _, ok := now.configs[key]; !ok && isService(it) == services {
				must(store.Delete(it.GroupVersionKind, it.Name, it.Namespace, nil))
			}
		}
	}

	put(false)
	settle(to, known{routes: is.routes}, known{})

	// A pod is to be known before it is an endpoint, else its account and labels come late.
	for _, kind := range []string{"Service", "Pod", "EndpointSlice"} {
		for key, it := range now.objects {
			old, ok := before.objects[key]
			if strings.HasPrefix(key, kind+"/") && (!ok || !reflect.DeepEqual(old, it)) {
				must(write(to.KubeClient(), it, false))
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	put(true)
	drop(true)
	for key, it := range before.objects {
		if _, ok := now.objects[key]; !ok {
			must(write(to.KubeClient(), it, true))
		}
	}
	settle(to, known{hosts: is.hosts}, known{hosts: was.hosts.Difference(is.hosts)})

	drop(false)
	settle(to, known{}, known{routes: was.routes.Difference(is.routes)})
	to.EnsureSynced(program{})
}

// Tells what is applied.
func tell(folder string, now state) {
	file := filepath.Join(folder, "applied")
	must(os.WriteFile(file+".new", []byte(now.text), 0o644))
	must(os.Rename(file+".new", file))
}

// What its clients of Kubernetes have in common.
type kind[T runtime.Object] interface {
	Create(context.Context, T, meta.CreateOptions) (T, error)
	Update(context.Context, T, meta.UpdateOptions) (T, error)
	Delete(context.Context, string, meta.DeleteOptions) error
}

func one[T runtime.Object](kind kind[T], it T, gone bool) error {
	ctx := context.Background()
	if gone {
		return kind.Delete(ctx, any(it).(meta.Object).GetName(), meta.DeleteOptions{})
	}
	_, err := kind.Create(ctx, it, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		_, err = kind.Update(ctx, it, meta.UpdateOptions{})
	}
	return err
}

func write(to kube.Client, it runtime.Object, gone bool) error {
	switch it := it.(type) {
	case *core.Service:
		return one(to.Kube().CoreV1().Services(it.Namespace), it, gone)
	case *core.Pod:
		return one(to.Kube().CoreV1().Pods(it.Namespace), it, gone)
	case *slice.EndpointSlice:
		return one(to.Kube().DiscoveryV1().EndpointSlices(it.Namespace), it, gone)
	}
	return fmt.Errorf("%T is not read", it)
}

type resource struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// A request, or, if `sent`, an answer.
type line struct {
	Node      string     `json:"node,omitempty"`
	Type      string     `json:"type"`
	Names     []string   `json:"names,omitempty"`
	Error     string     `json:"error,omitempty"`
	Sent      bool       `json:"sent,omitempty"`
	Delta     bool       `json:"delta,omitempty"`
	Resources []resource `json:"resources,omitempty"`
	Removed   []string   `json:"removed,omitempty"`
}

// The stream as the server has it, and a log of it.
type logged struct {
	grpc.ServerStream
	write func(line)
}

func (s logged) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err != nil {
		return err
	}
	refused := func(it *status.Status) string { return it.GetMessage() }
	switch it := m.(type) {
	case *discovery.DiscoveryRequest:
		s.write(line{Node: it.Node.GetId(), Type: it.TypeUrl, Names: it.ResourceNames, Error: refused(it.ErrorDetail)})
	case *discovery.DeltaDiscoveryRequest:
		s.write(line{Node: it.Node.GetId(), Type: it.TypeUrl, Names: it.ResourceNamesSubscribe, Delta: true,
			Removed: it.ResourceNamesUnsubscribe, Error: refused(it.ErrorDetail)})
	}
	return nil
}

func (s logged) SendMsg(m any) error {
	switch it := m.(type) {
	case *discovery.DiscoveryResponse:
		out := line{Type: it.TypeUrl, Sent: true}
		for _, one := range it.Resources {
			out.Resources = append(out.Resources, resource{name(one), one.Value})
		}
		s.write(out)
	case *discovery.DeltaDiscoveryResponse:
		out := line{Type: it.TypeUrl, Sent: true, Delta: true, Removed: it.RemovedResources}
		for _, one := range it.Resources {
			out.Resources = append(out.Resources, resource{one.Name, one.Resource.GetValue()})
		}
		s.write(out)
	}
	return s.ServerStream.SendMsg(m)
}

func name(packed *anypb.Any) string {
	message, err := packed.UnmarshalNew()
	must(err)
	switch it := message.(type) {
	case *listener.Listener:
		return it.Name
	case *route.RouteConfiguration:
		return it.Name
	case *cluster.Cluster:
		return it.Name
	case *endpoint.ClusterLoadAssignment:
		return it.ClusterName
	}
	return ""
}

// What the files look like from outside: it changes when one of them does.
func look(folder string) []string {
	var out []string
	files, _ := filepath.Glob(filepath.Join(folder, "*.yaml"))
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			out = append(out, fmt.Sprint(file, info.ModTime().UnixNano(), info.Size()))
		}
	}
	return out
}

func main() {
	folder := os.Args[1]
	log, err := os.OpenFile(filepath.Join(folder, "wire.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(err)
	var lock sync.Mutex
	write := func(it line) {
		lock.Lock()
		defer lock.Unlock()
		text, err := json.Marshal(it)
		must(err)
		_, err = log.Write(append(text, '\n'))
		must(err)
	}
	seen, before := look(folder), state{}
	served := xds.NewFakeDiscoveryServer(program{}, xds.FakeOptions{})
	now := read(folder)
	apply(served, before, now)
	tell(folder, now)
	before = now
	go func() {
		for {
			time.Sleep(20 * time.Millisecond)
			if now := look(folder); !slices.Equal(now, seen) {
				seen = now
				now := read(folder)
				apply(served, before, now)
				tell(folder, now)
				before = now
			}
		}
	}()
	if len(os.Args) > 2 {
		served.Discovery.Authenticators = authenticators(folder, served)
		secured, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
		must(err)
		go serve(secured, served, write, grpc.Creds(credentials.NewTLS(secrets(folder))))
	}
	// One that was killed leaves it behind.
	_ = os.Remove(filepath.Join(folder, "XDS"))
	socket, err := net.Listen("unix", filepath.Join(folder, "XDS"))
	must(err)
	serve(socket, served, write)
}

// Serves the generators at a place, and logs what is said there.
func serve(at net.Listener, served *xds.FakeDiscoveryServer, write func(line), options ...grpc.ServerOption) {
	options = append(options, grpc.StreamInterceptor(
		func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			return next(srv, logged{stream, write})
		}))
	server := grpc.NewServer(options...)
	served.Discovery.Register(server)
	must(server.Serve(at))
}

// istiod's own authenticators, in its order, as it has them outside of a cluster (JWT_RULE). What is refused by all of
// them is UNAUTHENTICATED; who is another than its node says is PERMISSION_DENIED. Neither is asked at the socket.
func authenticators(folder string, served *xds.FakeDiscoveryServer) []security.Authenticator {
	keys, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go func() {
		must(http.Serve(keys, http.HandlerFunc(func(to http.ResponseWriter, asked *http.Request) {
			http.ServeFile(to, asked, filepath.Join(folder, "jwks.json"))
		})))
	}()
	rule := &rules.JWTRule{
		Issuer:    issuer,
		JwksUri:   "http://" + keys.Addr().String() + "/keys",
		Audiences: []string{audience},
	}
	tokens, err := authenticate.NewJwtAuthenticator(rule, served.Env().Watcher)
	must(err)
	return []security.Authenticator{&authenticate.ClientCertAuthenticator{}, tokens}
}

// TLS as istiod has it: a client needs no certificate, but one that it shows is to be good.
func secrets(folder string) *tls.Config {
	roots, err := os.ReadFile(filepath.Join(folder, "root-cert.pem"))
	must(err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		panic("root-cert.pem has no certificate")
	}
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"))
			return &pair, err
		},
		ClientAuth: tls.VerifyClientCertIfGiven,
		ClientCAs:  pool,
		MinVersion: tls.VersionTLS12,
	}
}
