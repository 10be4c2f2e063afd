package program

import (
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/platformbus/platform/natsbus"
)

// NATS configures the connection to a NATS server.
type NATS struct {
	URL         string
	Credentials string
	CA          string
}

// AddFlags adds flags for the settings that are not secret: others can read the arguments of
// a process.
func (n *NATS) AddFlags(flags *flag.FlagSet) {
	flags.StringVar(&n.URL, "nats", os.Getenv("NATS_URL"), "`URL` of the NATS server, or several, separated by commas (or set NATS_URL)")
	flags.StringVar(&n.Credentials, "nats-creds", os.Getenv("NATS_CREDS"), "`file` with NATS credentials, as nsc writes it (or set NATS_CREDS);\nor set NATS_USER and NATS_PASSWORD")
	flags.StringVar(&n.CA, "nats-ca", os.Getenv("NATS_CA"), "`file` with the CA certificates of the NATS server (or set NATS_CA)")
}

// Connect connects with the settings that a bus needs. An unreachable server is not an error:
// the connection retries with jitter, and logs that. If the server refuses the client the
// connection is closed for good; the channel is then closed.
func (n *NATS) Connect(role string, log *slog.Logger) (*nats.Conn, <-chan struct{}, error) {
	options, err := n.options()
	if err != nil {
		return nil, nil, err
	}
	closed := make(chan struct{})
	options = append(options,
		nats.Name(natsbus.ConnectionName(role)),
		func(o *nats.Options) error { // a supervisor sees that a program ends, and not that it waits
			o.IgnoreAuthErrorAbort = false
			return nil
		},
		nats.ConnectHandler(func(c *nats.Conn) {
			log.Info("connected to NATS", "server", c.ConnectedUrlRedacted())
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	conn, err := nats.Connect(n.URL, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if !conn.IsConnected() {
		log.Warn("NATS does not answer yet; trying again until it does", "server", n.URL, "err", conn.LastError())
	}
	return conn, closed, nil
}

// options returns the options of the connection: those that a bus needs, and n's.
func (n *NATS) options() ([]nats.Option, error) {
	options := natsbus.ConnectOptions()
	for _, one := range strings.Split(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		switch {
		case err != nil:
			return nil, Usage("the NATS URL cannot be read") // the error quotes it, and it may hold a secret
		case u.User != nil:
			return nil, Usage("the NATS URL of %s holds credentials, which others can read: use NATS_USER and NATS_PASSWORD, or -nats-creds", u.Host)
		case u.Scheme == "" || u.Host == "":
			return nil, Usage("the NATS URL %q is invalid: want something like nats://127.0.0.1:4222", one)
		}
	}
	user, password := os.Getenv("NATS_USER"), os.Getenv("NATS_PASSWORD")
	switch {
	case n.Credentials != "" && user != "":
		return nil, Usage("there are credentials both in %s and in NATS_USER", n.Credentials)
	case n.Credentials != "":
		if err := checkCredentials(n.Credentials); err != nil { // the connection would retry for ever
			return nil, fmt.Errorf("the NATS credentials: %w", err)
		}
		options = append(options, nats.UserCredentials(n.Credentials)) // the file is read at each connect
	case user != "" || password != "":
		if user == "" || password == "" {
			return nil, Usage("NATS_USER and NATS_PASSWORD go together, and one of them is not set")
		}
		options = append(options, nats.UserInfo(user, password))
	}
	if n.CA != "" {
		options = append(options, nats.RootCAs(n.CA))
	}
	return options, nil
}

// checkCredentials returns an error if a file is not one that nsc writes. The error does not
// quote the content.
func checkCredentials(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	key, err := nkeys.ParseDecoratedNKey(text)
	if err != nil {
		return fmt.Errorf("%s contains no user key", file)
	}
	key.Wipe()
	return nil
}
