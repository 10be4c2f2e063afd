// Command daemon offers a cluster to the services on a NATS server. It is the least that a
// daemon needs; cmd/platform has one for production.
//
//	daemon nats://127.0.0.1:4222 my-cluster ~/.kube/config
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/nats-io/nats.go"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/natsbus"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: daemon NATS-URL INSTANCE KUBECONFIG")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1], flux.InstanceID(os.Args[2]), os.Args[3])
	if stop(); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url string, instance flux.InstanceID, kubeconfig string) error {
	access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	cluster, err := kubernetes.NewCluster(access, kubernetes.Options{Version: "example"})
	if err != nil {
		return err
	}
	options := append(natsbus.ConnectOptions(), nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
		log.Print("NATS cannot be reached, trying again: ", err) // Connect and New do not wait for the server
	}))
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return err
	}
	defer conn.Close()
	bus, err := natsbus.New(conn, natsbus.Options{Logger: slog.Default()})
	if err != nil {
		return err
	}
	done := make(chan error, 1) // has room for the one cause
	bus.Subscribe(instance, platform.Instrument(cluster), done)
	select {
	case <-ctx.Done():
	case err = <-done: // for instance ErrKicked: another daemon offers this instance
	}
	return errors.Join(err, bus.Close(context.Background())) // finishes the calls in progress
}
