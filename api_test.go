package platform_test

import (
	"context"
	"testing"

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

func TestDocumentedMetric(t *testing.T) {
	// A series exists only once it has been incremented.
	platform.BusMetricsImpl.IncrKicks("instance")
	families, err := prometheus.DefaultGatherer.Gather()
	require.NoError(t, err)
	found := false
	for _, family := range families {
		if family.GetName() == "flux_bus_kick_total" {
			found = true
			assert.Equal(t, "Count of bus subscriptions kicked off by a newer subscription.", family.GetHelp())
			assert.Equal(t, "COUNTER", family.GetType().String())
		}
	}
	assert.True(t, found, "flux_bus_kick_total is in the default registry")
}
