// Command service applies files to a cluster that a daemon offers, and prints its services. It
// knows nothing of Kubernetes; cmd/platform has a service for production.
//
//	service nats://127.0.0.1:4222 my-cluster shop.yaml
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: service NATS-URL INSTANCE [FILE ...]")
	}
	if err := run(os.Args[1], flux.InstanceID(os.Args[2]), os.Args[3:]); err != nil {
		log.Fatal(err)
	}
}

func run(url string, instance flux.InstanceID, files []string) error {
	conn, err := nats.Connect(url, natsbus.ConnectOptions()...)
	if err != nil {
		return err
	}
	defer conn.Close()
	bus, err := natsbus.New(conn, natsbus.Options{})
	if err != nil {
		return err
	}
	cluster, err := bus.Connect(instance)
	if err != nil {
		return err
	}
	var def platform.SyncDef
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		def.Actions = append(def.Actions, platform.SyncAction{ResourceID: file, Apply: text})
	}
	if err := cluster.Sync(def); err != nil {
		return err
	}
	services, err := cluster.AllServices("", nil)
	for _, s := range services { // also with an error, which says what is missing
		fmt.Println(s.ID, s.Status)
	}
	return err
}
