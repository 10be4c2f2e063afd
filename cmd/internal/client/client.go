// Package client has the commands for people and scripts: they use clusters through the HTTP API
// of a service, or directly over NATS.
package client

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus"
)

// A config holds the settings that all commands have.
type config struct {
	nats      program.NATS
	log       program.Log
	server    string
	tokenFile string
	instance  string
	output    output
	timeout   time.Duration
	flags     *pflag.FlagSet // all of the command
}

func (c *config) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.server, "server", "", "`URL` of a service, such as http://127.0.0.1:8080; or set --nats")
	flags.StringVar(&c.tokenFile, "token-file", "", "`file` with the bearer token of the service (or set "+program.TokenVariable+")")
	flags.DurationVar(&c.timeout, "timeout", 15*time.Minute, "limit of the whole command")
	c.nats.AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) { // rarely needed, and long: see platform service --help
		f.Hidden = strings.HasPrefix(f.Name, "bus-")
	})
	c.log.Least = slog.LevelWarn
	c.log.AddFlags(flags)
}

// newCommand returns a command with the settings that all have. It calls run with a connection
// as the settings say, and a context that ends after --timeout.
func (c *config) newCommand(cmd *cobra.Command, run func(ctx context.Context, t *target, args []string) error) *cobra.Command {
	c.addFlags(cmd.Flags())
	c.flags = cmd.Flags()
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		log, err := c.log.Logger(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		if err := c.output.check(); err != nil {
			return err
		}
		if c.timeout <= 0 {
			return program.Usage("--timeout is %v; want a time above 0", c.timeout)
		}
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), c.timeout, fmt.Errorf("not done within --timeout, %v", c.timeout))
		defer cancel()
		t, err := c.open(log)
		if err != nil {
			return err
		}
		t.in, t.out, t.err = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
		err = run(ctx, t, args)
		t.close()
		if cause := context.Cause(ctx); cause != nil && err != nil && !strings.Contains(err.Error(), cause.Error()) {
			return fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
	return cmd
}

// wantArgs returns check with an error that names the arguments.
func wantArgs(check cobra.PositionalArgs, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) != nil {
			return program.Usage("want %s", names)
		}
		return nil
	}
}

// addInstance adds the flag of the one instance that a command is about.
func (c *config) addInstance(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.instance, "instance", "i", "", "`ID` of the instance")
	completeFlag(cmd, "instance", c.complete(instanceNames))
}

// A target leads to the instances: over HTTP or over NATS.
type target struct {
	http  *httpClient        // nil over NATS
	bus   platform.Connecter // nil over HTTP
	close func()             // ends the connection
	in    io.Reader
	out   io.Writer
	err   io.Writer
}

// open connects as the settings say.
func (c *config) open(log *slog.Logger) (*target, error) {
	if c.server != "" && c.nats.URL != "" { // such as a flag, and a variable that is always set
		switch server, nats := program.SourceOf(c.flags.Lookup("server")), program.SourceOf(c.flags.Lookup("nats")); {
		case server > nats:
			c.nats.URL = ""
		case server < nats:
			c.server = ""
		}
	}
	switch {
	case c.server != "" && c.nats.URL != "":
		return nil, program.Usage("--server and --nats are both set: want one of them")
	case c.server == "" && c.nats.URL == "":
		return nil, program.Usage("neither --server (or %s) nor --nats (or %s) is set: want the URL of a service or of a NATS server",
			program.EnvName("server"), program.EnvName("nats"))
	case c.server != "":
		u, err := url.Parse(c.server)
		switch {
		case err != nil:
			return nil, program.Usage("--server cannot be read as a URL: want something like http://127.0.0.1:8080") // the error quotes it, and it may hold a secret
		case u.User != nil:
			return nil, program.Usage("--server holds credentials, which others can read: use --token-file or %s", program.TokenVariable)
		case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			return nil, program.Usage("--server %q: want something like http://127.0.0.1:8080", program.HideCredentials(c.server))
		}
		token, err := program.Token(c.tokenFile)
		if err != nil {
			return nil, err
		}
		return &target{http: &httpClient{base: u, token: token}, close: func() {}}, nil
	}
	conn, _, err := c.nats.Connect("command", log)
	if err != nil {
		return nil, err
	}
	bus, err := c.nats.NewBus(conn, natsbus.Metrics{}, log)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &target{bus: bus, close: func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
		defer cancel()
		bus.Close(ctx) // a call that is in progress was told to end
		conn.Close()
	}}, nil
}

// closeLimit bounds the end of the connection.
const closeLimit = 5 * time.Second

// platform returns the platform of the instance of --instance. Its calls obey ctx.
func (c *config) platform(ctx context.Context, t *target) (platform.Platform, error) {
	instance, err := program.InstanceID(c.instance)
	if err != nil {
		return nil, program.Usage("--instance: %w", err)
	}
	return t.connect(ctx, instance)
}

// connect returns the platform of an instance. Its calls obey ctx, and say who asks.
func (t *target) connect(ctx context.Context, instance flux.InstanceID) (platform.Platform, error) {
	if t.http != nil {
		return t.http.instance(ctx, instance), nil
	}
	p, err := t.bus.Connect(instance)
	if err != nil {
		return nil, err
	}
	return platform.WithContext(platform.ContextWithCaller(ctx, natsbus.ConnectionName("command")), p), nil
}

func parseServiceIDs(args []string) (ids []flux.ServiceID, err error) {
	for _, arg := range args {
		id, err := flux.ParseServiceID(arg)
		if err != nil {
			return nil, program.Usage("%w", err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
