package kubernetes

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/client-go/rest"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/apply"
	"github.com/platformbus/platform/kubernetes/internal/look"
	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/recent"
	"github.com/platformbus/platform/kubernetes/internal/redact"
	"github.com/platformbus/platform/kubernetes/internal/rollout"
)

// Options configure a Cluster. The zero value is useful.
type Options struct {
	// Version is what Version answers: the version of the daemon that embeds the
	// Cluster.
	Version string

	// Namespace is that of namespaced definitions which name none. Default: "default".
	Namespace string

	// Namespaces are those whose services are offered, by name or by pattern (as package
	// path matches them). Default: all. They have to be named if the credentials are good for
	// some namespaces only.
	Namespaces []string

	// ExcludeNamespaces are those whose services are not offered, by name or by pattern.
	ExcludeNamespaces []string

	// FieldManager is the name under which server-side apply records what is ours. Two
	// Clusters that drive one cluster for different purposes need different names.
	// Default: "platform".
	FieldManager string

	// AdoptFieldManagers are field managers of other tools. When an object is applied, their
	// fields become ours, whether they were set by server-side apply or otherwise: the object
	// loses no field, and keeps none that the definition leaves out. Fields that were set through
	// a subresource, such as the scale, are not adopted. Default: DefaultAdoptFieldManagers. An
	// empty list that is not nil adopts nothing.
	AdoptFieldManagers []string

	// FailOnConflict makes it an error, which names the other manager and the fields, if a
	// definition sets a field that someone else manages. By default the field is taken over.
	FailOnConflict bool

	// ExportSecrets lets Export include Secrets.
	ExportSecrets bool

	// Concurrency is the maximum number of requests that a call has in progress, apart from the
	// watches of an Apply that waits. Default: 16, and up to 64 while more requests do not make
	// each take longer, as with an API server that is far away and idle, and none is refused
	// because the server is busy.
	Concurrency int

	// Watch lets Sync watch the metadata of the objects that it has listed, until no Sync has
	// needed them for this time. A Sync sends no request if all objects of its definitions are
	// watched and no change of them was reported since the last Sync. A change that the API server
	// has not reported yet is seen by the next Sync. While a watch is interrupted, a Sync lists as
	// it does without. The credentials must allow watch. Close ends all watches. Default: nothing
	// is watched, and each Sync lists.
	Watch time.Duration

	// Timeout bounds each call as a whole, waiting for rollouts included. Default: 10
	// minutes.
	Timeout time.Duration

	// WaitTimeout bounds each wait within a call: for a rollout, for a deletion, for a
	// CustomResourceDefinition to be established. Default: Timeout.
	WaitTimeout time.Duration

	// RequestTimeout bounds each request to the API server. Default: one minute.
	RequestTimeout time.Duration

	// MaxObjects is how many objects the definitions of one Sync may hold together. A Sync
	// with more attempts nothing. Default: 100,000.
	MaxObjects int

	// Logger gets what an operator should know and no error contains, such as the API
	// server's warnings. It never gets the content of a definition. The context of what a call
	// logs has the call's caller, see platform.CallerFrom, and its span if calls are traced.
	// Default: nothing is logged.
	Logger *slog.Logger

	// Events, if set, is called with each thing that Sync and Apply do to an object, as it
	// happens. It may be called by several goroutines at once, and should return soon: its
	// callers wait for it.
	Events func(Event)

	// Metrics counts what Sync does. The zero value counts nothing.
	Metrics Metrics

	// TracerProvider makes OpenTelemetry spans of what calls do, see "Traces" in the package
	// comment. Default: there are none, and they cost nothing.
	TracerProvider trace.TracerProvider
}

// DefaultAdoptFieldManagers returns the default of Options.AdoptFieldManagers: those of kubectl
// that set fields of a manifest, and those of Kustomize, Helm, Flux and Argo CD. It does not have
// kubectl-rollout, whose restarts adoption would undo, kubectl-scale and kubectl-autoscale.
func DefaultAdoptFieldManagers() []string {
	return []string{
		"kubectl", "kubectl-client-side-apply", "kubectl-create", "kubectl-replace", "kubectl-edit", "kubectl-patch",
		"kubectl-set", "kubectl-label", "kubectl-annotate", "before-first-apply", "kustomize-controller", "helm-controller",
		"argocd-controller", "argocd-application-controller", "flux", "helm", "Helm",
	}
}

// isOurs says whether what a field manager sets is ours, or becomes ours.
func (o *Options) isOurs(manager string) bool {
	return manager == o.FieldManager || slices.Contains(o.AdoptFieldManagers, manager)
}

// withDefaults returns o with its defaults filled in, or an error that names the field
// that cannot be.
func (o Options) withDefaults() (Options, error) {
	for _, field := range []struct {
		name  string
		value int64
	}{{"Concurrency", int64(o.Concurrency)}, {"Timeout", int64(o.Timeout)},
		{"Watch", int64(o.Watch)}, {"WaitTimeout", int64(o.WaitTimeout)}, {"RequestTimeout", int64(o.RequestTimeout)},
		{"MaxObjects", int64(o.MaxObjects)}} {
		if field.value < 0 {
			return o, fmt.Errorf("kubernetes: Options.%s is negative", field.name)
		}
	}
	if len(o.FieldManager) > 128 {
		return o, fmt.Errorf("kubernetes: Options.FieldManager is longer than 128 characters")
	}
	o.Namespace = cmp.Or(o.Namespace, "default")
	if wrong := validation.ValidateNamespaceName(o.Namespace, false); len(wrong) > 0 {
		return o, fmt.Errorf("kubernetes: Options.Namespace %q: %s", o.Namespace, wrong[0])
	}
	for _, pattern := range slices.Concat(o.Namespaces, o.ExcludeNamespaces) {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return o, fmt.Errorf("kubernetes: Options.Namespaces or ExcludeNamespaces: %q is not a name or pattern", pattern)
		}
	}
	o.FieldManager = cmp.Or(o.FieldManager, "platform")
	if o.AdoptFieldManagers == nil {
		o.AdoptFieldManagers = DefaultAdoptFieldManagers()
	}
	o.AdoptFieldManagers = slices.Clone(o.AdoptFieldManagers)
	o.Namespaces, o.ExcludeNamespaces = slices.Clone(o.Namespaces), slices.Clone(o.ExcludeNamespaces)
	o.Concurrency = cmp.Or(o.Concurrency, maxConcurrency)
	o.MaxObjects = cmp.Or(o.MaxObjects, parse.MaxObjects)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Minute)
	o.WaitTimeout = cmp.Or(o.WaitTimeout, o.Timeout)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, time.Minute)
	o.Metrics = o.Metrics.orNone()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Cluster is a Kubernetes cluster as a platform.Platform. Make one with NewCluster. All
// its methods may be called by many goroutines at once.
type Cluster struct {
	*core
	ctxs []context.Context // what calls obey, the innermost view's first; see WithContext
}

var _ platform.Platform = (*Cluster)(nil)

// core is what a Cluster and all views of it share.
type core struct {
	options Options
	client  *api.Client
	looker  *look.Looker
	applier *apply.Applier
	tracing tracing
	waiter  *rollout.Waiter
	// fewest is how many requests a call has under way at once at first; Options.Concurrency is how
	// many it has at most.
	fewest int
	// read has what the bytes of an action say, by their hash: what has been parsed need
	// not be parsed again.
	read *recent.Cache[[sha256.Size]byte, *readAction]
}

// readLimit is how much a Cluster remembers of what it has read, in bytes.
const readLimit = 64 << 20

// NewCluster returns the cluster that config leads to. It makes no request, and fails only
// if config or options are invalid. The config is copied. Its rate limits are ignored, since
// the API server protects itself better; its Timeout, if set, is the default of
// Options.RequestTimeout.
func NewCluster(config *rest.Config, options Options) (*Cluster, error) {
	if config == nil {
		return nil, fmt.Errorf("kubernetes: the rest.Config is nil")
	}
	options.RequestTimeout = cmp.Or(options.RequestTimeout, config.Timeout)
	fewest := cmp.Or(options.Concurrency, defaultConcurrency)
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.RateLimiter = -1, 0, nil
	config.Timeout = 0 // each request has a context of its own
	config.WarningHandlerWithContext = newWarnings(options.Logger)
	if config.UserAgent == "" {
		config.UserAgent = "platform/" + options.Version
	}
	tracing := newTracing(options.TracerProvider)
	client, err := api.NewClient(config, options.RequestTimeout, tracing.tracer)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	looker := look.New(client, options.Watch)
	return &Cluster{core: &core{
		options: options,
		fewest:  fewest,
		client:  client,
		tracing: tracing,
		looker:  looker,
		applier: apply.New(client, looker, apply.Options{
			FieldManager:   options.FieldManager,
			FailOnConflict: options.FailOnConflict,
			Adopts:         options.AdoptFieldManagers,
			WaitTimeout:    options.WaitTimeout,
			Logger:         options.Logger,
			Waiting: func(ctx context.Context, t *apply.Target, progress string) {
				options.emit(ctx, Event{ID: t.EntryID, Object: t.Key.String(), Result: Waiting, Progress: progress})
			},
		}),
		waiter: &rollout.Waiter{Client: client, Timeout: options.WaitTimeout, Waiting: func(ctx context.Context, t rollout.Target, progress string) {
			options.emit(ctx, Event{ID: t.EntryID, Object: t.Key.String(), Result: Waiting, Progress: progress})
		}},
		read: recent.New[[sha256.Size]byte](readLimit, (*readAction).size),
	}}, nil
}

// WithContext returns a view of c whose calls end when ctx does, or when c's would: no
// request is begun any more, those under way are cut off, and the error says what was
// done and what was not.
func (c *Cluster) WithContext(ctx context.Context) platform.Platform {
	return &Cluster{core: c.core, ctxs: append(slices.Clip(c.ctxs), ctx)}
}

// How many requests a call has under way at once by default, at first and at most.
const (
	defaultConcurrency = 16
	maxConcurrency     = 64
)

// ended returns the cause of a context that calls obey and that has ended, or nil.
func (c *Cluster) ended() error {
	for _, ctx := range c.ctxs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// call returns the context for one call of a method, or the cause why the call is not to be made. Of
// the values of the contexts that it obeys it has the span, the caller and the observers of the last
// that has them. The function must be called at its end.
func (c *Cluster) call() (context.Context, context.CancelFunc, error) {
	if err := c.ended(); err != nil {
		return nil, nil, err
	}
	ctx := api.WithSlots(withObservers(context.Background(), c.ctxs), api.NewSlots(c.fewest, c.options.Concurrency))
	ctx, endTrace := c.tracing.begin(ctx, c.ctxs)
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, c.options.Timeout, api.Overdue("call", c.options.Timeout))
	cancel := func() { cancelTimeout(); endTrace() }
	for _, outer := range c.ctxs {
		if caller := platform.CallerFrom(outer); caller != "" {
			ctx = platform.ContextWithCaller(ctx, caller)
		}
		inner, end := context.WithCancelCause(ctx)
		stop := context.AfterFunc(outer, func() { end(context.Cause(outer)) })
		last := cancel
		ctx, cancel = inner, func() { stop(); end(nil); last() }
	}
	return ctx, cancel, nil
}

// Close ends the watches of c and of its views, see Options.Watch, and waits for that. Calls work
// afterwards too, and watch nothing.
func (c *Cluster) Close() { c.looker.Close() }

// Ping returns nil if the API server answers and accepts our credentials.
func (c *Cluster) Ping() error {
	ctx, cancel, err := c.call()
	if err == nil {
		defer cancel()
		err = c.client.Ping(ctx)
	}
	if err != nil {
		return clusterError(fmt.Errorf("ping: %w", err))
	}
	return nil
}

// Version returns Options.Version. It contacts nothing.
func (c *Cluster) Version() (string, error) {
	if err := c.ended(); err != nil {
		return "", clusterError(fmt.Errorf("version: %w", err))
	}
	return c.options.Version, nil
}

// warnings logs what the API server warns of: each warning once, as long as it is among the
// last ones, since the server repeats it with each request.
type warnings struct {
	logger *slog.Logger
	told   *recent.Cache[string, struct{}]
}

// maxWarnings is how many warnings are remembered.
const maxWarnings = 1000

func newWarnings(logger *slog.Logger) warnings {
	return warnings{logger, recent.New[string](maxWarnings, func(struct{}) int { return 1 })}
}

func (w warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, _ string, text string) {
	if code != 299 || text == "" {
		return
	}
	text = redact.Line(redact.Content().Text(text))
	if _, told := w.told.Get(text); !told {
		w.told.Put(text, struct{}{})
		w.logger.WarnContext(ctx, "the API server warns", "warning", text)
	}
}

// clusterError returns a platform.ClusterError whose text is short and on one line.
func clusterError(err error) error { return platform.ClusterError(redact.Error(err)) }
