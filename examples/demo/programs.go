package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/process"
	"github.com/platformbus/platform/natsbus"
)

// programs is a setup that runs a daemon and a service of cmd/platform as processes, which end
// with this process. The NATS server between them is in the service. The story is one more
// client of the same bus, and uses the service's HTTP API for Sync.
type programs struct {
	*narrator
	*natsbus.Bus

	cluster *cluster
	folder  string // of the program
	fail    func(error)

	dir      string // of their logs
	stopping atomic.Bool
	running  []*process.Process
	conn     *nats.Conn
	natsURL  string
	url      string // of the service
	daemons  []program
	reported samples
}

// startLimit bounds the time until a program serves.
const startLimit = time.Minute

var (
	servesNATS  = regexp.MustCompile(`msg="serving NATS" url=(\S+)`)
	servesHTTP  = regexp.MustCompile(`msg="serving HTTP" addr=(\S+)`)
	offeredLine = regexp.MustCompile(`msg="the cluster is offered"`)
	kickedLine  = regexp.MustCompile(`msg="kicked: .* err="([^"]*)"`)
)

// start starts the service, and connects to its NATS server as a service does.
func (p *programs) start(ctx context.Context) (err error) {
	p.step("The service starts, and the NATS server in it")
	if _, err := os.Stat(filepath.Join(p.folder, "platform")); err != nil {
		return fmt.Errorf("%w: run make demo, which builds it, or make demo-standalone, which needs none", err)
	}
	if p.dir, err = os.MkdirTemp("", "demo-"); err != nil {
		return err
	}
	service, err := p.run(ctx, "service", "service", "--embedded-nats=127.0.0.1:0", "--instance", string(instance))
	if err != nil {
		return err
	}
	p.url = service.url
	match, err := service.AwaitLine(ctx, servesNATS)
	if err != nil {
		return err
	}
	p.natsURL = match[1]
	if p.conn, err = nats.Connect(p.natsURL, natsbus.ConnectOptions()...); err != nil {
		return fmt.Errorf("connect to the service's NATS server: %w", err)
	}
	if p.Bus, err = natsbus.New(p.conn, natsbus.Options{}); err != nil {
		return err
	}
	p.say("Process %d: NATS at %s, an HTTP API at %s.", service.PID(), p.natsURL, p.url)
	return nil
}

// A program is a running program with the URL at which it serves HTTP.
type program struct {
	*process.Process
	url string
}

// run starts a daemon or a service, with a log of that name, and waits until it serves.
func (p *programs) run(ctx context.Context, command, name string, args ...string) (program, error) {
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "PLATFORM_") })
	one, err := process.Start(process.Program{
		Name: name, Dir: p.dir, Path: filepath.Join(p.folder, "platform"), Args: append([]string{command, "--listen", "127.0.0.1:0"}, args...),
		Env: env, // a kubeconfig may depend on it
		Ended: func(one *process.Process) {
			if !p.stopping.Load() {
				p.fail(one.ExitError())
			}
		},
	})
	if err != nil {
		return program{}, err
	}
	p.running = append(p.running, one)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	match, err := one.AwaitLine(ctx, servesHTTP)
	if err != nil {
		return program{}, err
	}
	return program{one, "http://" + match[1]}, nil
}

// showUnavailable shows the service's HTTP answer while no daemon is connected.
func (p *programs) showUnavailable() error {
	text, code, err := p.ask(context.Background(), http.MethodGet, p.url+"/v1/instances/"+string(instance), nil)
	if err == nil && code != http.StatusServiceUnavailable {
		err = fmt.Errorf("the service answers %d %s; want 503", code, text)
	}
	p.say("The same by HTTP: GET /v1/instances/%s: %d %s", instance, code, http.StatusText(code))
	return err
}

func (p *programs) offer(ctx context.Context, version string) (daemon, error) {
	d, err := p.run(ctx, "daemon", fmt.Sprintf("daemon-%d", len(p.daemons)+1),
		"--nats", p.natsURL, "--instance", string(instance), "--kubeconfig", p.cluster.kubeconfig,
		"--namespace", namespace, "--announce", version, "--call-timeout", callLimit.String())
	if err != nil {
		return nil, err
	}
	p.daemons = append(p.daemons, d)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if _, err := d.AwaitLine(ctx, offeredLine); err != nil {
		return nil, err
	}
	p.say("Process %d, which connects to NATS as to a server elsewhere. Its health: %s/healthz", d.PID(), d.url)
	return &offered{p, d}, nil
}

// offered is a daemon that runs as a process.
type offered struct {
	programs *programs
	program
}

func (d *offered) kicked(ctx context.Context) (string, error) {
	match, err := d.AwaitLine(ctx, kickedLine)
	if err != nil {
		return "", err
	}
	if err := d.checkOffered(); err == nil {
		return "", errors.New("the daemon says that it was kicked, and that it is healthy")
	}
	return match[1] + ". It stays idle, and is not healthy: were it to exit, it would be started again, and kick back", nil
}

// checkOffered checks the daemon's health endpoint.
func (d *offered) checkOffered() error {
	text, code, err := d.programs.ask(context.Background(), http.MethodGet, d.url+"/healthz", nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("the daemon is not healthy: %s", text)
	}
	return err
}

// sync posts def to the service.
func (p *programs) sync(ctx context.Context, def platform.SyncDef) error {
	type action struct {
		ResourceID string `json:"resourceID"`
		Apply      string `json:"apply"`
	}
	var request struct {
		Actions []action `json:"actions"`
	}
	for _, one := range def.Actions {
		request.Actions = append(request.Actions, action{one.ResourceID, string(one.Apply)})
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	text, code, err := p.ask(ctx, http.MethodPost, p.url+"/v1/instances/"+string(instance)+"/sync", body)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("the service answers %d %s", code, text)
	}
	return err
}

func (p *programs) ask(ctx context.Context, method, url string, body []byte) (text string, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return "", 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return strings.TrimSpace(string(all)), resp.StatusCode, err
}

// takeReport derives the report from the daemons' metrics.
func (p *programs) takeReport() (string, error) {
	now, err := p.metrics()
	if err != nil {
		return "", err
	}
	var lines []string
	for _, result := range results {
		name := fmt.Sprintf("flux_kubernetes_objects_total{result=%q}", result)
		if n := now[name].count - p.reported[name].count; n > 0 {
			lines = append(lines, fmt.Sprintf("%v %s", n, result))
		}
	}
	p.reported = now
	return "Metrics of the daemon: " + strings.Join(lines, "; ") + ".", nil
}

// metrics reads /metrics of the daemons, and adds up the samples.
func (p *programs) metrics() (samples, error) {
	sum := samples{}
	for _, d := range p.daemons {
		text, code, err := p.ask(context.Background(), http.MethodGet, d.url+"/metrics", nil)
		if err != nil || code != http.StatusOK {
			return nil, fmt.Errorf("the metrics of a daemon: %d %w", code, orNone(err))
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text + "\n"))
		if err != nil {
			return nil, fmt.Errorf("read the metrics of a daemon: %w", err)
		}
		for _, family := range families {
			sum.add(family)
		}
	}
	return sum, nil
}

// close ends the programs, the daemons first, and removes their logs.
func (p *programs) close() error {
	p.stopping.Store(true)
	var errs []error
	for len(p.running) > 1 {
		last := len(p.running) - 1
		errs = append(errs, p.running[last].Stop())
		p.running = p.running[:last]
	}
	if p.Bus != nil {
		ctx, cancel := context.WithTimeout(context.Background(), startLimit)
		defer cancel()
		errs = append(errs, p.Close(ctx))
	}
	if p.conn != nil {
		p.conn.Close()
	}
	for _, service := range p.running {
		errs = append(errs, service.Stop())
	}
	if p.dir != "" {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	err := errors.Join(errs...)
	if err == nil && len(p.running) > 0 {
		p.say("The programs have ended.")
	}
	return err
}
