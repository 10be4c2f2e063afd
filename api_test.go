package platform_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/kit/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// The declarations below are the documented API. They compile only if each name exists
// with exactly its type: a function or method is assigned to a variable of its signature,
// a struct is converted to one with the same fields in the same order, and an interface
// is assigned both ways.

var (
	_ func(error) error                                                                      = platform.ClusterError
	_ func(error) error                                                                      = platform.UnavailableError
	_ func(error) error                                                                      = platform.UpgradeNeededError
	_ func(*testing.T, func(mock platform.Platform) platform.Platform)                       = platform.PlatformTestBattery
	_ func(platform.Platform) platform.Platform                                              = platform.Instrument
	_ func(platform.BusMetrics) *platform.StandaloneMessageBus                               = platform.NewStandaloneMessageBus
	_ func(*platform.StandaloneMessageBus, flux.InstanceID) (platform.Platform, error)       = (*platform.StandaloneMessageBus).Connect
	_ func(*platform.StandaloneMessageBus, flux.InstanceID) error                            = (*platform.StandaloneMessageBus).Ping
	_ func(*platform.StandaloneMessageBus, flux.InstanceID, platform.Platform, chan<- error) = (*platform.StandaloneMessageBus).Subscribe
	_ func(*platform.StandaloneMessageBus, flux.InstanceID) (string, error)                  = (*platform.StandaloneMessageBus).Version

	_ func(platform.SyncError) string                      = platform.SyncError.Error
	_ func(platform.ApplyError) string                     = platform.ApplyError.Error
	_ func(platform.FatalError) string                     = platform.FatalError.Error
	_ func(platform.BusMetrics, flux.InstanceID)           = platform.BusMetrics.IncrKicks
	_ func(platform.Service) ([]platform.Container, error) = platform.Service.ContainersOrError
	_ func(platform.Service) []platform.Container          = platform.Service.ContainersOrNil

	_ func(*platform.MockPlatform, string, flux.ServiceIDSet) ([]platform.Service, error) = (*platform.MockPlatform).AllServices
	_ func(*platform.MockPlatform, []platform.ServiceDefinition) error                    = (*platform.MockPlatform).Apply
	_ func(*platform.MockPlatform) ([]byte, error)                                        = (*platform.MockPlatform).Export
	_ func(*platform.MockPlatform) error                                                  = (*platform.MockPlatform).Ping
	_ func(*platform.MockPlatform, []flux.ServiceID) ([]platform.Service, error)          = (*platform.MockPlatform).SomeServices
	_ func(*platform.MockPlatform, platform.SyncDef) error                                = (*platform.MockPlatform).Sync
	_ func(*platform.MockPlatform) (string, error)                                        = (*platform.MockPlatform).Version
)

// What was added to the documented API, and is promised like it.
var (
	_ func(context.Context, platform.Platform) platform.Platform      = platform.WithContext
	_ func(platform.PlatformV4) platform.Platform                     = platform.PlatformFromV4
	_ func(error) (platform.FatalError, bool)                         = platform.AsFatal
	_ func(platform.ErrorCodec, error) *platform.WireError            = platform.ErrorCodec.Encode
	_ func(platform.ErrorCodec, *platform.WireError) error            = platform.ErrorCodec.Decode
	_ func(*testing.T, func(t *testing.T) platform.MessageBus)        = platform.MessageBusTestBattery
	_ func(*testing.T, func(t *testing.T) platform.Fixture)           = platform.PlatformContractBattery
	_ func(prometheus.Registerer) (platform.BusMetrics, error)        = platform.NewBusMetrics
	_ func(prometheus.Registerer) (platform.Metrics, error)           = platform.NewMetrics
	_ func(platform.Metrics, platform.Platform) platform.Platform     = platform.Metrics.Instrument
	_ func(platform.Platform, trace.TracerProvider) platform.Platform = platform.Trace
	_ func(context.Context, string) context.Context                   = platform.ContextWithCaller
	_ func(context.Context) string                                    = platform.CallerFrom
	_ func(platform.ApplyError) []error                               = platform.ApplyError.Unwrap
	_ func(platform.SyncError) []error                                = platform.SyncError.Unwrap
	_ func(platform.FatalError) error                                 = platform.FatalError.Unwrap

	_ = []error{platform.ErrPlatformNotAvailable, platform.ErrUpgradeNeeded, platform.ErrKicked}
	_ = struct{ RequestDuration metrics.Histogram }(platform.MetricsImpl)
	_ = struct{ Sentinels map[string]error }(platform.ErrorCodec{})

	_ func(*testing.T, func(mock platform.Platform) platform.Platform, platform.BatteryOptions) = platform.PlatformTestBatteryWith
	_ func(*testing.T, func(t *testing.T) platform.MessageBus, platform.BatteryOptions)         = platform.MessageBusTestBatteryWith
	_ func(platform.Platform, func(ctx context.Context, method string) error) platform.Platform = platform.Observe

	// These may get further fields.
	_ = platform.WireError{Kind: "", Text: "", Help: "", Sentinels: []string{}, Entries: map[string]platform.WireError{}, Causes: []platform.WireError{}}
	_ = platform.BatteryOptions{Wait: time.Second, SlowCall: time.Second, StopsCalls: true}
	_ = platform.Fixture{
		Platform:  platform.Platform(nil),
		Namespace: "",
		Object:    func(name, value string) platform.ResourceDef { return nil },
		Service:   func(name, image string) (service, controller platform.ResourceDef) { return nil, nil },
		Invalid:   platform.ResourceDef{},
	}
)

var (
	_ error               = platform.ApplyError{}
	_ error               = platform.SyncError{}
	_ error               = platform.FatalError{}
	_ platform.BusMetrics = platform.BusMetricsImpl
	_ platform.MessageBus = (*platform.StandaloneMessageBus)(nil)
	_ platform.Platform   = (*platform.MockPlatform)(nil)

	_ = map[flux.ServiceID]error(platform.ApplyError{})
	_ = map[string]error(platform.SyncError{})
	_ = []byte(platform.ResourceDef{})

	_ = struct{ KickCount metrics.Counter }(platform.BusMetrics{})
	_ = struct{ Err error }(platform.FatalError{})
	_ = struct{ Name, Image string }(platform.Container{})
	_ = struct {
		Excuse     string
		Containers []platform.Container
	}(platform.ContainersOrExcuse{})
	_ = struct {
		ID         flux.ServiceID
		IP         string
		Metadata   map[string]string
		Status     string
		Containers platform.ContainersOrExcuse
	}(platform.Service{})
	_ = struct {
		ServiceID     flux.ServiceID
		NewDefinition []byte
		Async         bool
	}(platform.ServiceDefinition{})
	_ = struct {
		ResourceID string
		Delete     platform.ResourceDef
		Apply      platform.ResourceDef
	}(platform.SyncAction{})
	_ = struct{ Actions []platform.SyncAction }(platform.SyncDef{})
	_ = struct {
		AllServicesArgTest  func(string, flux.ServiceIDSet) error
		AllServicesAnswer   []platform.Service
		AllServicesError    error
		SomeServicesArgTest func([]flux.ServiceID) error
		SomeServicesAnswer  []platform.Service
		SomeServicesError   error
		ApplyArgTest        func([]platform.ServiceDefinition) error
		ApplyError          error
		PingError           error
		VersionAnswer       string
		VersionError        error
		ExportAnswer        []byte
		ExportError         error
		SyncArgTest         func(platform.SyncDef) error
		SyncError           error
	}(platform.MockPlatform{})
)

type (
	wantV4 interface {
		AllServices(namespace string, ignored flux.ServiceIDSet) ([]platform.Service, error)
		SomeServices([]flux.ServiceID) ([]platform.Service, error)
		Apply([]platform.ServiceDefinition) error
		Ping() error
		Version() (string, error)
	}
	wantV5 interface {
		wantV4
		Export() ([]byte, error)
		Sync(platform.SyncDef) error
	}
	wantConnecter interface {
		Connect(flux.InstanceID) (platform.Platform, error)
	}
	wantMessageBus interface {
		wantConnecter
		Subscribe(flux.InstanceID, platform.Platform, chan<- error)
		Ping(flux.InstanceID) error
	}
)

var (
	_ wantV4              = platform.PlatformV4(nil)
	_ platform.PlatformV4 = wantV4(nil)
	_ wantV5              = platform.PlatformV5(nil)
	_ platform.PlatformV5 = wantV5(nil)
	_ wantV5              = platform.Platform(nil)
	_ platform.Platform   = wantV5(nil)
	_ wantConnecter       = platform.Connecter(nil)
	_ platform.Connecter  = wantConnecter(nil)
	_ wantMessageBus      = platform.MessageBus(nil)
	_ platform.MessageBus = wantMessageBus(nil)
)

func TestDocumentedErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"empty selector": platform.ErrEmptySelector,
		"new definition does not match existing resource":          platform.ErrWrongResourceKind,
		"no matching service":                                      platform.ErrNoMatchingService,
		"service has no selector":                                  platform.ErrServiceHasNoSelector,
		"no matching replication controllers or deployments":       platform.ErrNoMatching,
		"multiple matching replication controllers or deployments": platform.ErrMultipleMatching,
		"no matching images":                                       platform.ErrNoMatchingImages,
	} {
		assert.EqualError(t, err, want)
	}
}

// declared returns the exported names that the package declares, without methods.
func declared(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		var found []*ast.Ident
		for _, decl := range parsed.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil {
					found = append(found, decl.Name)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						found = append(found, spec.Name)
					case *ast.ValueSpec:
						found = append(found, spec.Names...)
					}
				}
			}
		}
		for _, ident := range found {
			if ident.IsExported() {
				names = append(names, ident.Name)
			}
		}
	}
	return names
}

func TestEachExportedNameIsPromised(t *testing.T) {
	promised, err := os.ReadFile("api_test.go")
	require.NoError(t, err)
	names := declared(t)
	assert.Contains(t, names, "NewMetrics")
	for _, name := range names {
		assert.Regexp(t, `\bplatform\.`+name+`\b`, string(promised))
	}
}
