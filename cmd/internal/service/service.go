// Package service is the command that offers, over HTTP, the clusters that daemons offer on a
// NATS server. Of Kubernetes it knows what package manifest knows: it speaks to no API server.
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus"
)

const long = `Offer, over HTTP, the clusters that daemons offer on a NATS server.

With --embedded-nats it also runs a NATS server, for experiments: on loopback only, where any
client may act as a daemon or a service. A server that other machines can reach needs users
with the permissions that package natsbus documents: run nats-server.

The API, which /openapi.json describes, listens on loopback too. Other addresses require a
bearer token, in the file of --token-file or in PLATFORM_TOKEN. The service does not encrypt
the connection: put a proxy that terminates TLS in front of it.

On SIGTERM it accepts no more requests, aborts those whose body has not arrived, waits for
the others, and exits with 0, or with 1 if they take longer than --drain-timeout.`

// Command returns the command.
func Command() *cobra.Command {
	c := new(config)
	cmd := &cobra.Command{
		Use:     "service",
		Short:   "Offer over HTTP the clusters of the daemons on a NATS server",
		Long:    long,
		Example: "  platform service --embedded-nats --instance my-cluster",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context())
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// A config holds the settings.
type config struct {
	nats      program.NATS
	log       program.Log
	trace     program.Trace
	embedded  string // address of the embedded NATS server; none if empty
	instances []string
	listen    string
	tokenFile string
	maxBody   int64
	maxBodies int64
	call      time.Duration
	drain     time.Duration
}

func (c *config) addFlags(flags *pflag.FlagSet) {
	c.nats.AddFlags(flags)
	c.log.AddFlags(flags)
	c.trace.AddFlags(flags)
	const embedded = "embedded-nats"
	flags.StringVar(&c.embedded, embedded, "", "run a NATS server too, at 127.0.0.1:4222 or, with --embedded-nats=`address`, elsewhere on loopback")
	flags.Lookup(embedded).NoOptDefVal = "127.0.0.1:4222"
	flags.StringSliceVar(&c.instances, "instance", nil, "`IDs` of the instances in the list of instances; others can be used too")
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8080", "`address` of the API; one that is not on loopback needs a token")
	flags.StringVar(&c.tokenFile, "token-file", "", "`file` with the bearer token that requests must have (or set "+program.TokenVariable+")")
	flags.Int64Var(&c.maxBody, "max-body", 16<<20, "limit of a request's body, in `bytes`: by default 16 MiB")
	flags.Int64Var(&c.maxBodies, "max-bodies", 256<<20, "limit of the bodies of all requests in progress together, in `bytes`: by default 256 MiB; the process takes about three times as much")
	flags.DurationVar(&c.call, "call-timeout", 15*time.Minute, "limit of each request")
	flags.DurationVar(&c.drain, "drain-timeout", 15*time.Minute, "limit of the wait for requests in progress on SIGTERM")
}

// check returns an error if the settings cannot be right.
func (c *config) check() (instances []flux.InstanceID, err error) {
	for _, text := range c.instances {
		instance, err := program.InstanceID(text)
		if err != nil {
			return nil, program.Usage("--instance: %w", err)
		}
		instances = append(instances, instance)
	}
	switch {
	case c.maxBody <= 0 || c.maxBodies < c.maxBody:
		return nil, program.Usage("--max-body is %d and --max-bodies is %d; want the first above 0 and the second at least as large", c.maxBody, c.maxBodies)
	case c.call <= 0 || c.drain < 0:
		return nil, program.Usage("--call-timeout is %v and --drain-timeout is %v; want the first above 0 and the second not negative", c.call, c.drain)
	case c.embedded != "" && c.nats.URL != "":
		return nil, program.Usage("--embedded-nats and --nats (or %s) are both set, and only one server can be used", program.EnvName("nats"))
	case c.embedded == "" && c.nats.URL == "":
		return nil, program.Usage("neither --nats (or %s) nor --embedded-nats is set: want one of them", program.EnvName("nats"))
	}
	return instances, nil
}

func (c *config) run(ctx context.Context) error {
	instances, err := c.check()
	if err != nil {
		return err
	}
	log, err := c.log.Logger(os.Stderr)
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
	provider, endTraces, err := c.trace.Provider(ctx, log, "platform-service")
	if err != nil {
		return err
	}
	conn, closed, err := c.nats.Connect("service", log)
	if err != nil {
		return err
	}
	defer conn.Close()
	bus, err := c.nats.NewBus(conn, ofBus, log)
	if err != nil {
		return err
	}

	a := &api{
		bus: bus, instances: instances, measure: ofCalls, traces: provider, name: natsbus.ConnectionName("service"),
		maxBody: c.maxBody, bodies: newBudget(c.maxBodies), slots: newSlots(maxRequests), probes: newSlots(0),
		limit: c.call, reading: make(chan struct{}, maxPlans), log: log,
	}
	health := program.Health(func(context.Context) error {
		if !conn.IsConnected() {
			return fmt.Errorf("NATS cannot be reached: the connection is %v", conn.Status())
		}
		return nil
	}, log)
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
	return errors.Join(err, server.Close(limit), bus.Close(limit), endTraces(limit))
}

// minToken is the minimum length of a token, in bytes, so that it cannot be guessed.
const minToken = 16

// token returns the bearer token of the API. If it is empty, requests need none.
func (c *config) token() (string, error) {
	token, err := program.Token(c.tokenFile)
	if err != nil {
		return "", err
	}
	switch {
	case token == "" && !isLoopback(c.listen):
		return "", program.Usage("--listen %s can be reached from elsewhere, and its clients can change clusters: "+
			"set --token-file or %s, or listen on 127.0.0.1", c.listen, program.TokenVariable)
	case token != "" && len(token) < minToken:
		return "", program.Usage("the token in %s has %d bytes, which can be guessed; want at least %d, such as from openssl rand -hex 32",
			cmp.Or(c.tokenFile, program.TokenVariable), len(token), minToken)
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
		return nil, program.Usage("--embedded-nats=%s: want an address such as 127.0.0.1:4222", addr)
	case !isLoopback(addr):
		return nil, program.Usage("--embedded-nats=%s can be reached from elsewhere, and has no authentication: want 127.0.0.1; "+
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
