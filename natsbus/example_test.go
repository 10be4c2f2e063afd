package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

// ship applies a manifest to a cluster that a daemon offers, and prints the services in it.
func ship(bus platform.Connecter, manifest []byte) error {
	cluster, err := bus.Connect("production") // may be kept: it follows the daemon
	if err != nil {
		return err
	}
	err = cluster.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "shop.yaml", Apply: manifest}}})
	if err != nil {
		return err // a SyncError says what failed, and why
	}
	services, err := cluster.AllServices("shop", nil)
	for _, s := range services { // also with an error, which says what is missing
		fmt.Println(s.ID, s.Status, s.ContainersOrNil())
	}
	return err
}

// A daemon and a service, each with a connection of its own, as they have in two processes. The
// NATS server is in this process; a MockPlatform stands for the cluster.
func Example() {
	server := startServer()
	defer server.stop()

	daemon, closeDaemon := open(server.url)
	defer closeDaemon()
	done := make(chan error, 1) // has room for the one cause
	daemon.Subscribe("production", &platform.MockPlatform{
		AllServicesAnswer: []platform.Service{{
			ID: "shop/web", Status: "ready",
			Containers: platform.ContainersOrExcuse{Containers: []platform.Container{{Name: "web", Image: "nginx:1.28"}}},
		}},
	}, done)

	service, closeService := open(server.url)
	defer closeService()
	fmt.Println(ship(service, []byte("kind: ...")))

	// Without a daemon a call says so.
	fmt.Println(errors.Is(service.Ping("staging"), platform.ErrPlatformNotAvailable))
	// Output:
	// shop/web ready [{web nginx:1.28}]
	// <nil>
	// true
}

// open connects to a server, and returns a bus and the function that closes both.
func open(url string) (*natsbus.Bus, func()) {
	conn, err := nats.Connect(url, natsbus.ConnectOptions()...)
	if err != nil {
		panic(err)
	}
	bus, err := natsbus.New(conn, natsbus.Options{})
	if err != nil {
		panic(err)
	}
	return bus, func() {
		if err := bus.Close(context.Background()); err != nil { // waits for the calls in progress
			panic(err)
		}
		conn.Close()
	}
}

// An exampleServer is a NATS server that ends with an example, which has no testing.TB.
type exampleServer struct {
	testing.TB
	url  string
	stop func()
}

func (s *exampleServer) Helper()                   {}
func (s *exampleServer) Cleanup(f func())          { s.stop = f }
func (s *exampleServer) Errorf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (s *exampleServer) FailNow()                  { panic("the NATS server does not start") }

func startServer() *exampleServer {
	s := new(exampleServer)
	s.url = natstest.Start(s, nil).ClientURL()
	return s
}
