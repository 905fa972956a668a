// istiod's generators without a cluster: istiod PORT FOLDER
//
// It serves what follows from the YAML of FOLDER/istio.yaml: ServiceEntry, VirtualService, DestinationRule
// and their like. A file that replaces it is what holds from then on.
package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
)

// What its tests are given: whatever fails ends the program.
type failer struct{ folder string }

func (failer) Fail()                        { os.Exit(1) }
func (failer) FailNow()                     { os.Exit(1) }
func (failer) Fatal(said ...any)            { fmt.Fprintln(os.Stderr, said...); os.Exit(1) }
func (failer) Fatalf(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...); os.Exit(1) }
func (failer) Log(said ...any)              { fmt.Fprintln(os.Stderr, said...) }
func (failer) Logf(f string, args ...any)   { fmt.Fprintf(os.Stderr, f+"\n", args...) }
func (it failer) TempDir() string           { return it.folder }
func (failer) Helper()                      {}
func (failer) Cleanup(func())               {}
func (failer) Skip(...any)                  {}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func key(it config.Config) string {
	return it.GroupVersionKind.String() + "/" + it.Namespace + "/" + it.Name
}

func read(path string) map[string]config.Config {
	text, err := os.ReadFile(path)
	must(err)
	all, _, err := crd.ParseInputs(string(text))
	must(err)
	out := map[string]config.Config{}
	for _, it := range all {
		out[key(it)] = it
	}
	return out
}

func main() {
	folder := os.Args[2]
	path := filepath.Join(folder, "istio.yaml")
	known := read(path)
	first := []config.Config{}
	for _, it := range known {
		first = append(first, it)
	}
	server := xds.NewFakeDiscoveryServer(failer{folder}, xds.FakeOptions{
		Configs: first,
		ListenerBuilder: func() (net.Listener, error) {
			return net.Listen("tcp", "127.0.0.1:"+os.Args[1])
		},
	})
	seen, err := os.Stat(path)
	must(err)
	for {
		time.Sleep(20 * time.Millisecond)
		now, err := os.Stat(path)
		if err != nil || now.ModTime() == seen.ModTime() {
			continue
		}
		seen = now
		next := read(path)
		for key, it := range next {
			if _, there := known[key]; there {
				_, err = server.Store().Update(it)
			} else {
				_, err = server.Store().Create(it)
			}
			must(err)
		}
		for key, it := range known {
			if _, there := next[key]; !there {
				must(server.Store().Delete(it.GroupVersionKind, it.Name, it.Namespace, nil))
			}
		}
		known = next
	}
}
