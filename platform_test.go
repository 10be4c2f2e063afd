package platform_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// methods are the names of Platform's methods.
var methods = []string{"AllServices", "SomeServices", "Apply", "Ping", "Version", "Export", "Sync"}

// The arguments of callAll.
var (
	callNamespace = "default"
	callIgnored   = flux.ServiceIDSet{"default/ignored": {}}
	callIDs       = []flux.ServiceID{"default/a", "default/b"}
	callDefs      = []platform.ServiceDefinition{{ServiceID: "default/a", NewDefinition: []byte("kind: Deployment"), Async: true}}
	callSync      = platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "a", Delete: []byte("d"), Apply: []byte("a")}}}
)

// An outcome holds the results of a call; result is nil for methods that return only an error.
type outcome struct {
	result any
	err    error
}

// callAll calls every method once and returns the outcomes by method.
func callAll(p platform.Platform) map[string]outcome {
	all := map[string]outcome{}
	services, err := p.AllServices(callNamespace, callIgnored)
	all["AllServices"] = outcome{services, err}
	services, err = p.SomeServices(callIDs)
	all["SomeServices"] = outcome{services, err}
	all["Apply"] = outcome{nil, p.Apply(callDefs)}
	all["Ping"] = outcome{nil, p.Ping()}
	version, err := p.Version()
	all["Version"] = outcome{version, err}
	exported, err := p.Export()
	all["Export"] = outcome{exported, err}
	all["Sync"] = outcome{nil, p.Sync(callSync)}
	return all
}

// distinctMock returns a mock with a different answer and error for each method, which
// checks that the arguments are those of callAll.
func distinctMock(t *testing.T) *platform.MockPlatform {
	return &platform.MockPlatform{
		AllServicesArgTest: func(namespace string, ignored flux.ServiceIDSet) error {
			assert.Equal(t, callNamespace, namespace)
			assert.Equal(t, callIgnored, ignored)
			return nil
		},
		AllServicesAnswer: []platform.Service{{ID: "default/all", IP: "10.0.0.1"}},
		AllServicesError:  errBoom,
		SomeServicesArgTest: func(ids []flux.ServiceID) error {
			assert.Equal(t, callIDs, ids)
			return nil
		},
		SomeServicesAnswer: []platform.Service{{ID: "default/some"}},
		SomeServicesError:  platform.ClusterError(errBoom),
		ApplyArgTest: func(defs []platform.ServiceDefinition) error {
			assert.Equal(t, callDefs, defs)
			return nil
		},
		ApplyError:    platform.ApplyError{"default/a": errBoom},
		PingError:     errOther,
		VersionAnswer: "v5",
		VersionError:  platform.UpgradeNeededError(errBoom),
		ExportAnswer:  []byte("kind: List"),
		ExportError:   platform.UnavailableError(errBoom),
		SyncArgTest: func(def platform.SyncDef) error {
			assert.Equal(t, callSync, def)
			return nil
		},
		SyncError: platform.SyncError{"a": errBoom},
	}
}

// justV4 hides the methods of a Platform beyond version 4.
type justV4 struct{ platform.PlatformV4 }

func TestPlatformFromV4(t *testing.T) {
	mock := distinctMock(t)
	want, got := callAll(mock), callAll(platform.PlatformFromV4(justV4{mock}))
	for _, method := range methods {
		if method != "Export" && method != "Sync" {
			assert.Equal(t, want[method], got[method], method)
			continue
		}
		assert.Empty(t, got[method].result, method)
		assert.ErrorIs(t, got[method].err, platform.ErrUpgradeNeeded, method)
		assert.ErrorContains(t, got[method].err, method, "the error names the method")
		assert.Equal(t, helpOf(t, platform.UpgradeNeededError(nil)), helpOf(t, got[method].err), method)
	}
}

func TestPlatformFromV4ReturnsNewerOnesUnchanged(t *testing.T) {
	mock := &platform.MockPlatform{}
	assert.Same(t, mock, platform.PlatformFromV4(mock))
	once := platform.PlatformFromV4(justV4{mock})
	assert.Same(t, once, platform.PlatformFromV4(once))
}
