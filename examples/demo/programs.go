package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/internal/launch"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/process"
	"github.com/platformbus/platform/natsbus"
)

// programs is a setup that runs daemons and a service of cmd/platform as processes, which end
// with this process. The NATS server between them is in the service. The story is one more
// client of the same bus, and uses the service's HTTP API for Sync.
type programs struct {
	*narrator
	*natsbus.Bus

	cluster  *cluster
	group    *launch.Group
	conn     *nats.Conn
	natsURL  string
	url      string // of the service
	daemons  []*offered
	reported samples
}

var (
	servesNATS  = regexp.MustCompile(`msg="serving NATS" url=(\S+)`)
	offeredLine = regexp.MustCompile(`msg="the cluster is offered"`)
	kickedLine  = regexp.MustCompile(`msg="kicked: .* err="([^"]*)"`)
)

// start starts the service, and connects to its NATS server as a service does. It calls fail
// if a program ends by itself.
func (p *programs) start(ctx context.Context, folder string, fail func(error)) (err error) {
	p.step("A service starts, and a NATS server in it",
		"clusters are behind firewalls: daemons dial out to NATS, and nothing dials in")
	if p.group, err = launch.NewGroup(folder, func(one *process.Process) { fail(one.ExitError()) }); err != nil {
		return err
	}
	service, err := p.group.Start(ctx, "service", "service", "--embedded-nats=127.0.0.1:0", "--instance", string(east), "--instance", string(west))
	if err != nil {
		return err
	}
	p.url = service.URL
	match, err := launch.Await(ctx, service.Process, servesNATS)
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

// showUnavailable shows the service's HTTP answer while no daemon is connected.
func (p *programs) showUnavailable() error {
	text, code, err := p.ask(context.Background(), http.MethodGet, p.url+"/v1/instances/"+string(east), nil)
	if err == nil && code != http.StatusServiceUnavailable {
		err = fmt.Errorf("the service answers %d %s; want 503", code, text)
	}
	p.say("The same by HTTP: GET /v1/instances/%s: %d %s.", east, code, http.StatusText(code))
	return err
}

func (p *programs) offer(ctx context.Context, inst flux.InstanceID, version string) (daemon, error) {
	_, kubeconfig := p.cluster.access(inst)
	one, err := p.group.Start(ctx, "daemon", fmt.Sprintf("daemon-%d", len(p.daemons)+1),
		"--nats", p.natsURL, "--instance", string(inst), "--kubeconfig", kubeconfig,
		"--namespace", namespace, "--announce", version, "--call-timeout", callLimit.String())
	if err != nil {
		return nil, err
	}
	d := &offered{p, one}
	p.daemons = append(p.daemons, d)
	if _, err := launch.Await(ctx, d.Process, offeredLine); err != nil {
		return nil, err
	}
	p.say("Process %d is a daemon. Its health: %s/healthz", d.PID(), d.URL)
	return d, nil
}

// offered is a daemon that runs as a process.
type offered struct {
	programs *programs
	launch.Program
}

func (d *offered) kill() error {
	d.programs.say("kill -KILL %d", d.PID())
	return d.programs.group.Kill(d.Process)
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
	text, code, err := d.programs.ask(context.Background(), http.MethodGet, d.URL+"/healthz", nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("the daemon is not healthy: %s", text)
	}
	return err
}

// sync posts def to the service.
func (p *programs) sync(ctx context.Context, inst flux.InstanceID, def platform.SyncDef) error {
	type action struct {
		ResourceID string `json:"resourceID"`
		Apply      string `json:"apply,omitempty"`
		Delete     string `json:"delete,omitempty"`
	}
	var request struct {
		Actions []action `json:"actions"`
	}
	for _, one := range def.Actions {
		request.Actions = append(request.Actions, action{one.ResourceID, string(one.Apply), string(one.Delete)})
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	text, code, err := p.ask(ctx, http.MethodPost, p.url+"/v1/instances/"+string(inst)+"/sync", body)
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
		text, code, err := p.ask(context.Background(), http.MethodGet, d.URL+"/metrics", nil)
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
	var errs []error
	if p.Bus != nil {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		defer cancel()
		errs = append(errs, p.Close(ctx))
	}
	if p.conn != nil {
		p.conn.Close()
	}
	if p.group != nil {
		errs = append(errs, p.group.Stop())
	}
	err := errors.Join(errs...)
	if err == nil && p.url != "" {
		p.say("The programs have ended, and their logs are gone.")
	}
	return err
}
