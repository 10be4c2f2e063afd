// Command service offers, over HTTP, the clusters that daemons offer on a NATS server. It does
// not depend on Kubernetes.
//
//	service -nats nats://127.0.0.1:4222 -instance my-cluster
//	service -embedded-nats -instance my-cluster
//
// With -embedded-nats it also runs a NATS server, for experiments: on loopback only, where any
// client may act as a daemon or a service. A server that other machines can reach needs users
// with the permissions that package natsbus documents: run nats-server.
//
// The API, see [api.routes], listens on loopback too. Other addresses require a bearer token,
// in the file of -token-file or in SERVICE_TOKEN. The service does not encrypt the connection:
// put a proxy that terminates TLS in front of it.
//
// On SIGTERM it accepts no more requests, aborts those whose body has not arrived, waits for
// the others, and exits with 0, or with 1 if they take longer than -drain-timeout. It exits
// with 2 if its arguments are invalid.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus"
)

func main() { program.Main("service", run) }

// A config holds the parsed arguments.
type config struct {
	nats      program.NATS
	embedded  string // address of the embedded NATS server; none if empty
	instances []flux.InstanceID
	listen    string
	tokenFile string
	maxBody   int64
	maxBodies int64
	call      time.Duration
	drain     time.Duration
}

func parse(args []string) (c config, err error) {
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	c.nats.AddFlags(flags)
	flags.BoolFunc("embedded-nats", "run a NATS server too, at 127.0.0.1:4222 or, with -embedded-nats=address, elsewhere on loopback", func(s string) error {
		if c.embedded = s; s == "true" {
			c.embedded = "127.0.0.1:4222"
		}
		return nil
	})
	flags.Func("instance", "`ID` of an instance to list; may be given several times", func(s string) error {
		instance, err := program.InstanceID(s)
		c.instances = append(c.instances, instance)
		return err
	})
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8080", "`address` of the API; one that is not on loopback needs a token")
	flags.StringVar(&c.tokenFile, "token-file", "", "`file` with the bearer token that requests must have (or set SERVICE_TOKEN)")
	flags.Int64Var(&c.maxBody, "max-body", 16<<20, "limit of a request's body, in `bytes`")
	flags.Int64Var(&c.maxBodies, "max-bodies", 256<<20, "limit of the bodies of all requests in progress together, in `bytes`; the process takes about three times as much")
	flags.DurationVar(&c.call, "call-timeout", 15*time.Minute, "limit of each request")
	flags.DurationVar(&c.drain, "drain-timeout", 15*time.Minute, "limit of the wait for requests in progress on SIGTERM")
	if err := program.Parse(flags, args); err != nil {
		return c, err
	}
	switch {
	case c.maxBody <= 0 || c.maxBodies < c.maxBody:
		return c, program.Usage("-max-body is %d and -max-bodies is %d; want the first above 0 and the second at least as large", c.maxBody, c.maxBodies)
	case c.embedded != "" && c.nats.URL != "":
		return c, program.Usage("-embedded-nats and -nats (or NATS_URL) are both set, and only one server can be used")
	case c.embedded == "" && c.nats.URL == "":
		return c, program.Usage("neither -nats (or NATS_URL) nor -embedded-nats is set: want one of them")
	}
	return c, nil
}

func run(ctx context.Context, log *slog.Logger, args []string) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	token, err := c.token()
	if err != nil {
		return err
	}
	if c.embedded != "" {
		embedded, err := startNATS(c.embedded)
		if err != nil {
			return err
		}
		defer func() {
			embedded.Shutdown()
			embedded.WaitForShutdown()
		}()
		c.nats.URL = embedded.ClientURL()
		log.Info("serving NATS", "url", c.nats.URL)
	}
	registry, metrics := program.NewRegistry()
	ofBus, err0 := natsbus.NewMetrics(registry)
	ofCalls, err1 := platform.NewMetrics(registry)
	if err := errors.Join(err0, err1); err != nil {
		return err
	}
	conn, closed, err := c.nats.Connect("service", log)
	if err != nil {
		return err
	}
	defer conn.Close()
	bus, err := natsbus.New(conn, natsbus.Options{Metrics: ofBus, Logger: log})
	if err != nil {
		return err
	}

	a := &api{bus: bus, instances: c.instances, measure: ofCalls, maxBody: c.maxBody, bodies: newBudget(c.maxBodies),
		slots: newSlots(maxRequests), probes: newSlots(0), limit: c.call, log: log}
	health := program.Health(func(context.Context) error {
		if !conn.IsConnected() {
			return fmt.Errorf("NATS cannot be reached: the connection is %v", conn.Status())
		}
		return nil
	})
	server, err := program.Serve(c.listen, a.handler(token, metrics, health), program.Limits{Call: c.call}, log)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err = <-server.Failed():
	case <-closed:
		err = fmt.Errorf("the NATS connection is closed: %w", conn.LastError())
	}

	log.Info("shutting down: waiting for requests in progress", "limit", c.drain)
	limit, cancel := context.WithTimeout(context.Background(), c.drain)
	defer cancel()
	return errors.Join(err, server.Close(limit), bus.Close(limit))
}

// minToken is the minimum length of a token, in bytes, so that it cannot be guessed.
const minToken = 16

// token returns the bearer token of the API. If it is empty, requests need none.
func (c *config) token() (string, error) {
	token, from := os.Getenv("SERVICE_TOKEN"), "SERVICE_TOKEN"
	if c.tokenFile != "" {
		text, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		token, from = strings.TrimSpace(string(text)), c.tokenFile
	}
	switch {
	case token == "" && c.tokenFile != "":
		return "", program.Usage("the token in %s is empty", from)
	case token == "" && !isLoopback(c.listen):
		return "", program.Usage("-listen %s can be reached from elsewhere, and its clients can change clusters: "+
			"set -token-file or SERVICE_TOKEN, or listen on 127.0.0.1", c.listen)
	case token != "" && len(token) < minToken:
		return "", program.Usage("the token in %s has %d bytes, which can be guessed; want at least %d, such as from openssl rand -hex 32", from, len(token), minToken)
	}
	return token, nil
}

// isLoopback reports whether a listen address can be reached only from this machine.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// natsLimit bounds the start of the embedded server.
const natsLimit = 10 * time.Second

// startNATS starts a NATS server on loopback.
func startNATS(addr string) (*server.Server, error) {
	host, text, err := net.SplitHostPort(addr)
	port, err1 := strconv.ParseUint(text, 10, 16)
	switch {
	case err != nil || err1 != nil:
		return nil, program.Usage("-embedded-nats=%s: want an address such as 127.0.0.1:4222", addr)
	case !isLoopback(addr):
		return nil, program.Usage("-embedded-nats=%s can be reached from elsewhere, and has no authentication: want 127.0.0.1; "+
			"for other machines run nats-server with users", addr)
	}
	options := &server.Options{Host: host, Port: int(port), NoSigs: true, NoLog: true}
	if port == 0 {
		options.Port = server.RANDOM_PORT
	}
	// The server exits the process if the address is in use, so check it first.
	probe, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve NATS: %w", err)
	}
	probe.Close()
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("serve NATS: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(natsLimit) {
		s.Shutdown()
		return nil, fmt.Errorf("serve NATS: %s is not served after %v", addr, natsLimit)
	}
	return s, nil
}
