package program

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/spf13/pflag"

	"github.com/platformbus/platform/natsbus"
)

// NATS configures the connection to a NATS server, and the bus on it.
type NATS struct {
	URL          string
	Credentials  string
	Seed         string
	User         string
	PasswordFile string
	CA           string
	Certificate  string
	Key          string
	Bus          natsbus.Options
}

// AddFlags adds flags for the settings that are not secret: others can read the arguments of
// a process.
func (n *NATS) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&n.URL, "nats", "", "`URL` of the NATS server, or several, separated by commas")
	flags.StringVar(&n.Credentials, "nats-creds", "", "`file` with NATS credentials, as nsc writes it")
	flags.StringVar(&n.Seed, "nats-nkey", "", "`file` with the seed of an NKey")
	flags.StringVar(&n.User, "nats-user", "", "`name` of the NATS user; the password is in "+passwordVariable+" or --nats-password-file")
	flags.StringVar(&n.PasswordFile, "nats-password-file", "", "`file` with the password of the NATS user")
	flags.StringVar(&n.CA, "nats-ca", "", "`file` with the CA certificates of the NATS server")
	flags.StringVar(&n.Certificate, "nats-cert", "", "`file` with the client certificate, for mutual TLS")
	flags.StringVar(&n.Key, "nats-key", "", "`file` with the key of the client certificate")
	flags.StringVar(&n.Bus.Prefix, "bus-prefix", "", "first `token` of the bus's subjects, the same for services and daemons (default \"flux\")")
	flags.StringVar(&n.Bus.Service, "bus-service", "", "`name` of the service on the bus, which permissions can wall off (default \"service\")")
	flags.DurationVar(&n.Bus.Beat, "bus-beat", 0, "how often each side of a call says that it is there (default 1s)")
	flags.DurationVar(&n.Bus.Silence, "bus-silence", 0, "how long a peer may say nothing until it is lost (default 5 beats)")
	flags.Int64Var(&n.Bus.MaxBody, "bus-max-body", 0, "limit of one request or result, in `bytes` (default 256 MiB)")
	flags.Int64Var(&n.Bus.MaxBytes, "bus-max-bytes", 0, "limit of all requests and results in transit, in `bytes` (default 1 GiB)")
	flags.IntVar(&n.Bus.MaxCalls, "bus-max-calls", 0, "limit of reads, and of writes, in progress (default 8192)")
	flags.IntVar(&n.Bus.MaxCallsPerInstance, "bus-max-calls-per-instance", 0, "limit of reads, and of writes, served for one instance (default 256)")
	flags.Int64Var(&n.Bus.Window, "bus-window", 0, "limit of `bytes` that are sent and not acknowledged (default 1 MiB)")
}

// passwordVariable is the environment variable with the password. It has no flag.
const passwordVariable = envPrefix + "NATS_PASSWORD"

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
		nats.ReconnectErrHandler(logAttempts(log)),
		nats.ConnectHandler(func(c *nats.Conn) {
			log.Info("connected to NATS", "server", c.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the bus logs it; the default writes it to standard error too
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	conn, err := nats.Connect(n.URL, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if !conn.IsConnected() {
		log.Warn("NATS does not answer yet; trying again until it does", "server", n.URL)
	}
	return conn, closed, nil
}

// logAttempts returns a handler that logs why a server cannot be reached, each time that the
// reason is another.
func logAttempts(log *slog.Logger) nats.ConnErrHandler {
	var mu sync.Mutex
	last := "" // guarded by mu
	return func(_ *nats.Conn, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil || err.Error() == last {
			return
		}
		last = err.Error()
		log.Warn("NATS cannot be reached; trying again", "err", err)
	}
}

// HideCredentials returns a text that should be a URL without what may be credentials: what is
// before an @, also where there is no scheme, so that package url would not find them.
func HideCredentials(text string) string {
	if at := strings.LastIndex(text, "@"); at >= 0 {
		return "…" + text[at:]
	}
	return text
}

// options returns the options of the connection: those that a bus needs, and n's.
func (n *NATS) options() ([]nats.Option, error) {
	for _, one := range strings.Split(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		switch {
		case err != nil:
			return nil, Usage("the NATS URL cannot be read") // the error quotes it, and it may hold a secret
		case u.User != nil:
			return nil, Usage("the NATS URL of %s holds credentials, which others can read: use --nats-user and %s, or --nats-creds", u.Host, passwordVariable)
		case u.Scheme == "" || u.Host == "":
			return nil, Usage("the NATS URL %q is invalid: want something like nats://127.0.0.1:4222", HideCredentials(one))
		}
	}
	options := natsbus.ConnectOptions()
	credentials, err := n.credentials()
	if err != nil {
		return nil, err
	}
	options = append(options, credentials...)
	if n.CA != "" {
		options = append(options, nats.RootCAs(n.CA))
	}
	switch {
	case n.Certificate != "" && n.Key != "":
		options = append(options, nats.ClientCert(n.Certificate, n.Key))
	case n.Certificate != "" || n.Key != "":
		return nil, Usage("--nats-cert and --nats-key go together, and one of them is not set")
	}
	return options, nil
}

// credentials returns the option for the one kind of credentials that is set, if any.
func (n *NATS) credentials() ([]nats.Option, error) {
	password, err := n.password()
	if err != nil {
		return nil, err
	}
	kinds := 0
	for _, set := range []bool{n.Credentials != "", n.Seed != "", n.User != "" || password != ""} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return nil, Usage("of --nats-creds, --nats-nkey and --nats-user only one can be used, and there are %d", kinds)
	case n.Credentials != "":
		if err := checkCredentials(n.Credentials); err != nil { // the connection would retry for ever
			return nil, fmt.Errorf("the NATS credentials: %w", err)
		}
		return []nats.Option{nats.UserCredentials(n.Credentials)}, nil // the file is read at each connect
	case n.Seed != "":
		option, err := nats.NkeyOptionFromSeed(n.Seed)
		if err != nil {
			return nil, fmt.Errorf("the NATS credentials: %s contains no seed of an NKey", n.Seed) // the error may quote it
		}
		return []nats.Option{option}, nil
	case kinds == 0:
		return nil, nil
	case n.User == "" || password == "":
		return nil, Usage("--nats-user and its password (%s or --nats-password-file) go together, and one of them is not set", passwordVariable)
	}
	return []nats.Option{nats.UserInfo(n.User, password)}, nil
}

func (n *NATS) password() (string, error) {
	password := os.Getenv(passwordVariable)
	if n.PasswordFile == "" {
		return password, nil
	}
	if password != "" {
		return "", Usage("there is a password both in %s and in %s", n.PasswordFile, passwordVariable)
	}
	return ReadSecret("nats-password-file", n.PasswordFile)
}

// ReadSecret returns the content of the file that a flag names, without the space around it. It is
// an error if nothing is in the file.
func ReadSecret(flag, file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("the secret of --%s: %w", flag, err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("the secret of --%s: %s is empty", flag, file)
	}
	return secret, nil
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
		return errors.New(file + " contains no user key")
	}
	key.Wipe()
	return nil
}

// NewBus returns a bus on the connection.
func (n *NATS) NewBus(conn *nats.Conn, metrics natsbus.Metrics, log *slog.Logger) (*natsbus.Bus, error) {
	bus, err := natsbus.New(conn, n.BusOptions(metrics, log))
	if err != nil { // an option is wrong, since there is a connection
		return nil, Usage("the settings --bus-*: %w", err)
	}
	return bus, nil
}

// BusOptions returns the options of the bus on the connection.
func (n *NATS) BusOptions(metrics natsbus.Metrics, log *slog.Logger) natsbus.Options {
	options := n.Bus
	options.Metrics, options.Logger = metrics, log
	return options
}
