package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/platformbus/platform/bench/contender"
	"github.com/platformbus/platform/internal/faultproxy"
)

// A busCase measures an operation over a NATS server, with this library and with nats.go
// alone. The server is in this process, and each end is a process of its own.
type busCase struct {
	what   string
	rounds []busRound
}

// A busRound is the measurement of one row of a busCase.
type busRound struct {
	size       int
	phase      string
	contenders []string
	once       func(context.Context, *busRun, string) (measurement, error)
}

var bothEnds = []string{"platform", "nats"}

// The phases and parameters of the bus cases.
const (
	duringExport = "during-export" // a ping while an export is in progress on a slow link
	killed       = "killed"        // the daemon, during a call
	frozen       = "frozen"        // the same
	absent       = "absent"        // there is no daemon
	noInstance   = "none"          // before the first instance is subscribed
	callerEnd    = ""
	daemonEnd    = "daemon"

	besideSlow = "beside-slow" // large calls of other instances, whose daemons are behind slow links

	exportMiB     = 50
	farMiB        = 16
	fairMiB       = 4
	instances     = 100_000
	slowLinkBytes = 10 << 20 // a second
	stalledBytes  = 64 << 10 // a second, of a link that hardly moves
	farDelay      = 75 * time.Millisecond
	away          = time.Second // servers that restart: clients wait the longer the longer that takes

	serverLimit = 10 * time.Second // until a NATS server is ready
)

var (
	busPingCase = busCase{"bus-ping", []busRound{
		{1, "", []string{"platform", "platform-traced", "nats"}, pingBy(1)},
		{64, "", []string{"platform", "platform-traced", "nats"}, pingBy(64)},
		{1, duringExport, bothEnds[:1], pingDuringExport},
	}}
	busSubscribeCase = busCase{"bus-subscribe", []busRound{
		{instances, "", bothEnds, subscribeAll},
		{instances, noInstance, bothEnds, subscribeNone},
	}}
	busFarCase = busCase{"bus-far", []busRound{
		{farMiB, "", bothEnds, exportFar("export")},
		{farMiB, duringExport, bothEnds[:1], exportFar("ping-during-export")},
	}}
	busUnfairCase = busCase{"bus-unfair", []busRound{
		{fairMiB, "", bothEnds[:1], syncFairly("sync")},
		{fairMiB, besideSlow, bothEnds[:1], syncFairly("sync-beside-slow")},
	}}
	busRestartCase = busCase{"bus-restart", []busRound{
		{instances, "", bothEnds, restart},
	}}
	busLostCase = busCase{"bus-lost", []busRound{
		{1, killed, bothEnds[:1], loseDaemon(syscall.SIGKILL)},
		{1, frozen, bothEnds[:1], loseDaemon(syscall.SIGSTOP)},
		{1, absent, bothEnds[:1], missDaemon},
	}}
	busExportCase = busCase{"bus-export", []busRound{
		{exportMiB, callerEnd, bothEnds, exportSeenBy(callerEnd)},
		{exportMiB, daemonEnd, bothEnds, exportSeenBy(daemonEnd)},
	}}
)

func (c busCase) name() string { return c.what }

func (c busCase) run(ctx context.Context, o options) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := buildContenders(ctx, dir); err != nil {
		return nil, err
	}
	for _, round := range c.rounds {
		taken := make([][]measurement, len(round.contenders))
		for n := range o.runs + 1 { // the first is to warm up
			for i := range round.contenders {
				i = (i + n) % len(round.contenders)
				m, err := c.once(ctx, dir, round, round.contenders[i])
				if err != nil {
					return nil, fmt.Errorf("%s: %w", round.contenders[i], err)
				}
				fmt.Fprintf(os.Stderr, "%s %d %s, round %d, %s: %.3f ms, %.0f a second, %.0f MB\n",
					c.what, round.size, round.phase, n, round.contenders[i], m.MS, m.PerSecond, m.PeakRSSMB)
				if n > 0 {
					taken[i] = append(taken[i], m)
				}
			}
		}
		for i, who := range round.contenders {
			rows = append(rows, row{Case: c.what, Size: round.size, Phase: round.phase, Who: who}.withMedians(taken[i]))
		}
	}
	return rows, nil
}

// A busRun is a NATS server and the processes of the ends that are connected to it.
type busRun struct {
	dir  string
	url  string
	ends []*process
}

func (c busCase) once(ctx context.Context, dir string, round busRound, who string) (m measurement, err error) {
	s, err := startServer(nil)
	if err != nil {
		return m, err
	}
	defer stopServers(s)
	r := &busRun{dir: dir, url: s.ClientURL()}
	defer func() {
		for _, e := range r.ends {
			err = errors.Join(err, e.close())
		}
	}()
	return round.once(ctx, r, who)
}

// startServer starts a NATS server with options that change may change.
func startServer(change func(*server.Options)) (*server.Server, error) {
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(serverLimit) {
		stopServers(s)
		return nil, errors.New("the NATS server is not ready")
	}
	return s, nil
}

func stopServers(servers ...*server.Server) {
	for _, s := range servers {
		s.Shutdown()
	}
	for _, s := range servers {
		s.WaitForShutdown()
	}
}

// end starts the process of one end, which connects to url.
func (r *busRun) end(ctx context.Context, who, url string) (*process, error) {
	p, err := startProcess(ctx, access{programs: r.dir}, "bus", "-who", who, "-url", url)
	if err == nil {
		r.ends = append(r.ends, p)
	}
	return p, err
}

// both starts a daemon and a caller. The caller connects to url.
func (r *busRun) both(ctx context.Context, who, url string, exported int) (daemon, caller *process, err error) {
	if daemon, err = r.end(ctx, who, r.url); err != nil {
		return nil, nil, err
	}
	if _, err = daemon.call(contender.Request{Phase: "serve", Size: exported}); err != nil {
		return nil, nil, err
	}
	caller, err = r.end(ctx, who, url)
	return daemon, caller, err
}

func pingBy(callers int) func(context.Context, *busRun, string) (measurement, error) {
	return func(ctx context.Context, r *busRun, who string) (m measurement, err error) {
		_, caller, err := r.both(ctx, who, r.url, 0)
		if err != nil {
			return m, err
		}
		m.Measurement, err = caller.call(contender.Request{Phase: "ping", Size: callers})
		return m, err
	}
}

func pingDuringExport(ctx context.Context, r *busRun, who string) (m measurement, err error) {
	proxy, err := faultproxy.Start(strings.TrimPrefix(r.url, "nats://"))
	if err != nil {
		return m, err
	}
	defer proxy.Close()
	proxy.Limit(slowLinkBytes)
	_, caller, err := r.both(ctx, who, "nats://"+proxy.Addr(), exportMiB<<20)
	if err != nil {
		return m, err
	}
	m.Measurement, err = caller.call(contender.Request{Phase: "ping-during-export", Size: exportMiB << 20})
	return m, err
}

// exportFar has a caller far away make an Export, once it has seen the daemon.
func exportFar(phase string) func(context.Context, *busRun, string) (measurement, error) {
	return func(ctx context.Context, r *busRun, who string) (m measurement, err error) {
		proxy, err := faultproxy.Start(strings.TrimPrefix(r.url, "nats://"))
		if err != nil {
			return m, err
		}
		defer proxy.Close()
		proxy.Delay(farDelay)
		_, caller, err := r.both(ctx, who, "nats://"+proxy.Addr(), farMiB<<20)
		if err != nil {
			return m, err
		}
		if _, err := caller.call(contender.Request{Phase: "greet"}); err != nil {
			return m, err
		}
		m.Measurement, err = caller.call(contender.Request{Phase: phase, Size: farMiB << 20})
		return m, err
	}
}

// syncFairly measures a Sync while daemons of other instances are behind links that hardly move.
func syncFairly(phase string) func(context.Context, *busRun, string) (measurement, error) {
	return func(ctx context.Context, r *busRun, who string) (m measurement, err error) {
		proxy, err := faultproxy.Start(strings.TrimPrefix(r.url, "nats://"))
		if err != nil {
			return m, err
		}
		defer proxy.Close()
		proxy.Limit(stalledBytes)
		slow, err := r.end(ctx, who, "nats://"+proxy.Addr())
		if err != nil {
			return m, err
		}
		if _, err := slow.call(contender.Request{Phase: "subscribe", Size: contender.Stalled}); err != nil {
			return m, err
		}
		daemon, err := r.end(ctx, who, r.url)
		if err != nil {
			return m, err
		}
		if _, err := daemon.call(contender.Request{Phase: "take"}); err != nil {
			return m, err
		}
		caller, err := r.end(ctx, who, r.url)
		if err != nil {
			return m, err
		}
		m.Measurement, err = caller.call(contender.Request{Phase: phase, Size: fairMiB << 20})
		return m, err
	}
}

// restart measures how long it takes after all servers of a cluster have come back until they
// know all instances again. Then it makes sure that each can be called.
func restart(ctx context.Context, r *busRun, who string) (m measurement, err error) {
	cluster, err := startNATSCluster(nil)
	defer func() { stopServers(cluster...) }()
	if err != nil {
		return m, err
	}
	urls := make([]string, len(cluster))
	for i, s := range cluster {
		urls[i] = s.ClientURL()
	}
	end, err := r.end(ctx, who, strings.Join(urls, ","))
	if err != nil {
		return m, err
	}
	if _, err := end.call(contender.Request{Phase: "spread", Size: instances}); err != nil {
		return m, err
	}
	var at []natsPorts
	for _, s := range cluster {
		at = append(at, natsPorts{s.Addr().(*net.TCPAddr).Port, s.ClusterAddr().Port})
	}
	back := time.After(away)
	stopServers(cluster...)
	<-back
	begin := time.Now()
	if cluster, err = startNATSCluster(at); err != nil {
		return m, err
	}
	for _, s := range cluster {
		for s.NumSubscriptions() < instances { // of its own clients, and of others
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return m, context.Cause(ctx)
			}
		}
	}
	m.MS = contender.Milliseconds(time.Since(begin))
	if who == bothEnds[0] {
		caller, err := r.end(ctx, who, urls[0])
		if err != nil {
			return m, err
		}
		if _, err := caller.call(contender.Request{Phase: "ping-all", Size: instances}); err != nil {
			return m, err
		}
	}
	return m, nil
}

// natsPorts are those of a server in a cluster.
type natsPorts struct{ clients, routes int }

// startNATSCluster starts three servers that know each other, on free ports if at is nil.
func startNATSCluster(at []natsPorts) (cluster []*server.Server, err error) {
	for i := range 3 {
		s, err := startServer(func(o *server.Options) {
			o.ServerName = fmt.Sprint("server-", i)
			o.Cluster = server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: server.RANDOM_PORT}
			if at != nil {
				o.Port, o.Cluster.Port = at[i].clients, at[i].routes
			}
			if i > 0 {
				o.Routes = server.RoutesFromStr("nats://" + cluster[0].ClusterAddr().String())
			}
		})
		if err != nil {
			return cluster, err
		}
		cluster = append(cluster, s)
	}
	return cluster, nil
}

// loseDaemon measures the time until a call fails after its daemon has received a signal.
func loseDaemon(signal syscall.Signal) func(context.Context, *busRun, string) (measurement, error) {
	return func(ctx context.Context, r *busRun, who string) (m measurement, err error) {
		daemon, caller, err := r.both(ctx, who, r.url, 0)
		if err != nil {
			return m, err
		}
		returned := make(chan error, 1)
		go func() {
			var err error
			m.Measurement, err = caller.call(contender.Request{Phase: "hold"})
			returned <- err
		}()
		_, err = daemon.call(contender.Request{Phase: "held"})
		begin := time.Now()
		err = errors.Join(err, daemon.command.Process.Signal(signal), <-returned)
		m.MS = contender.Milliseconds(time.Since(begin))
		r.ends = slices.DeleteFunc(r.ends, func(p *process) bool { return p == daemon })
		return m, errors.Join(err, daemon.kill())
	}
}

func missDaemon(ctx context.Context, r *busRun, who string) (m measurement, err error) {
	caller, err := r.end(ctx, who, r.url)
	if err != nil {
		return m, err
	}
	m.Measurement, err = caller.call(contender.Request{Phase: "hold"})
	return m, err
}

// exportSeenBy measures an export: the time at the caller, and the memory of one end.
func exportSeenBy(end string) func(context.Context, *busRun, string) (measurement, error) {
	return func(ctx context.Context, r *busRun, who string) (m measurement, err error) {
		daemon, caller, err := r.both(ctx, who, r.url, exportMiB<<20)
		if err != nil {
			return m, err
		}
		if _, err := daemon.call(contender.Request{Phase: "reset"}); err != nil {
			return m, err
		}
		m.Measurement, err = caller.call(contender.Request{Phase: "export", Size: exportMiB << 20})
		if err != nil || end == callerEnd {
			return m, err
		}
		peak, err := daemon.call(contender.Request{Phase: "peak"})
		m.PeakRSSMB = peak.PeakRSSMB
		return m, err
	}
}

func subscribeAll(ctx context.Context, r *busRun, who string) (measurement, error) {
	return r.subscriber(ctx, who, contender.Request{Phase: "subscribe", Size: instances})
}

func subscribeNone(ctx context.Context, r *busRun, who string) (measurement, error) {
	return r.subscriber(ctx, who, contender.Request{Phase: "peak"})
}

// subscriber starts one end and sends it a request.
func (r *busRun) subscriber(ctx context.Context, who string, request contender.Request) (m measurement, err error) {
	end, err := r.end(ctx, who, r.url)
	if err != nil {
		return m, err
	}
	m.Measurement, err = end.call(request)
	return m, err
}
