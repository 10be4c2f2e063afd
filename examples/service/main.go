// Command service uses clusters that daemons offer on a NATS server, and lets others use
// them over HTTP. It knows nothing of Kubernetes.
//
//	service -nats nats://127.0.0.1:4222 -instance my-cluster
//	service -embedded-nats -instance my-cluster
//
// With -embedded-nats it is the NATS server too, for trying things out: on loopback only,
// where whoever can reach it may be a daemon or a service. A server that other machines
// reach needs users with the permissions of package natsbus' comment: run nats-server.
//
// The API, which [api.routes] has in full, is on loopback too. An address that others can
// reach is refused unless there is a bearer token, in the file of -token-file or in
// SERVICE_TOKEN; the token, and all else, then go as they are, so that what ends TLS stands
// in front.
//
// On SIGTERM it takes no more requests, cuts off those whose body has not come, waits for the
// others, and exits with 0; with 1 if they take longer than -drain-timeout. It exits with 2 if
// it was called wrongly.
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

// A config is what the arguments say.
type config struct {
	nats      program.NATS
	embedded  string // where to listen for NATS, if not empty
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
	flags.BoolFunc("embedded-nats", "be the NATS server too, at 127.0.0.1:4222 or, with -embedded-nats=address, elsewhere on loopback", func(s string) error {
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
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8080", "`address` of the API; others than loopback's need a token")
	flags.StringVar(&c.tokenFile, "token-file", "", "`file` with the bearer token that requests must have (or set SERVICE_TOKEN)")
	flags.Int64Var(&c.maxBody, "max-body", 16<<20, "limit of a request's body, in `bytes`")
	flags.Int64Var(&c.maxBodies, "max-bodies", 256<<20, "limit of the bodies of all requests under way together, in `bytes`; the process takes about three times as much")
	flags.DurationVar(&c.call, "call-timeout", 15*time.Minute, "limit of each request")
	flags.DurationVar(&c.drain, "drain-timeout", 15*time.Minute, "limit of waiting for requests under way, on SIGTERM")
	if err := program.Parse(flags, args); err != nil {
		return c, err
	}
	switch {
	case c.maxBody <= 0 || c.maxBodies < c.maxBody:
		return c, program.Usage("-max-body is %d and -max-bodies is %d; want the first above 0 and the second at least as large", c.maxBody, c.maxBodies)
	case c.embedded != "" && c.nats.URL != "":
		return c, program.Usage("-embedded-nats and -nats (or NATS_URL) are both set, and only one server can be used")
	case c.embedded == "" && c.nats.URL == "":
		return c, program.Usage("neither -nats (or NATS_URL) nor -embedded-nats is set: want the URL of a NATS server, or to be one")
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

	log.Info("ending, when the requests under way have been answered", "limit", c.drain)
	limit, cancel := context.WithTimeout(context.Background(), c.drain)
	defer cancel()
	return errors.Join(err, server.Close(limit), bus.Close(limit))
}

// minToken is how long a token must be, in bytes, for nobody to guess it.
const minToken = 16

// token returns the token that requests must have; if it is empty, they need none.
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
		return "", program.Usage("-listen %s can be reached from elsewhere, and whoever reaches it can change clusters: "+
			"set -token-file or SERVICE_TOKEN, or listen on 127.0.0.1", c.listen)
	case token != "" && len(token) < minToken:
		return "", program.Usage("the token in %s has %d bytes, which can be guessed; want at least %d, such as from openssl rand -hex 32", from, len(token), minToken)
	}
	return token, nil
}

// isLoopback says whether an address to listen at can be reached from this machine only.
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
		return nil, program.Usage("-embedded-nats=%s can be reached from elsewhere, and asks nobody who they are: want 127.0.0.1; "+
			"for other machines run nats-server with users", addr)
	}
	options := &server.Options{Host: host, Port: int(port), NoSigs: true, NoLog: true}
	if port == 0 {
		options.Port = server.RANDOM_PORT
	}
	// The server ends the process if the address is taken, so look first.
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
