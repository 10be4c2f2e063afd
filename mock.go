package platform

import "github.com/platformbus/platform/flux"

// MockPlatform is a Platform for tests that returns the values of its fields. If an
// ArgTest is set, it is called with the arguments, and its error, if any, is returned in
// place of the answer. The zero value returns zero values from every method.
//
// It may be used by many goroutines at once as long as its fields do not change and its
// ArgTests allow it.
type MockPlatform struct {
	AllServicesArgTest func(string, flux.ServiceIDSet) error
	AllServicesAnswer  []Service
	AllServicesError   error

	SomeServicesArgTest func([]flux.ServiceID) error
	SomeServicesAnswer  []Service
	SomeServicesError   error

	ApplyArgTest func([]ServiceDefinition) error
	ApplyError   error

	PingError error

	VersionAnswer string
	VersionError  error

	ExportAnswer []byte
	ExportError  error

	SyncArgTest func(SyncDef) error
	SyncError   error
}

var _ Platform = (*MockPlatform)(nil)

// AllServices calls AllServicesArgTest, then returns AllServicesAnswer and AllServicesError.
func (p *MockPlatform) AllServices(ns string, ss flux.ServiceIDSet) ([]Service, error) {
	if p.AllServicesArgTest != nil {
		if err := p.AllServicesArgTest(ns, ss); err != nil {
			return nil, err
		}
	}
	return p.AllServicesAnswer, p.AllServicesError
}

// SomeServices calls SomeServicesArgTest, then returns SomeServicesAnswer and
// SomeServicesError.
func (p *MockPlatform) SomeServices(ss []flux.ServiceID) ([]Service, error) {
	if p.SomeServicesArgTest != nil {
		if err := p.SomeServicesArgTest(ss); err != nil {
			return nil, err
		}
	}
	return p.SomeServicesAnswer, p.SomeServicesError
}

// Apply calls ApplyArgTest, then returns ApplyError.
func (p *MockPlatform) Apply(defs []ServiceDefinition) error {
	if p.ApplyArgTest != nil {
		if err := p.ApplyArgTest(defs); err != nil {
			return err
		}
	}
	return p.ApplyError
}

// Ping returns PingError.
func (p *MockPlatform) Ping() error { return p.PingError }

// Version returns VersionAnswer and VersionError.
func (p *MockPlatform) Version() (string, error) { return p.VersionAnswer, p.VersionError }

// Export returns ExportAnswer and ExportError.
func (p *MockPlatform) Export() ([]byte, error) { return p.ExportAnswer, p.ExportError }

// Sync calls SyncArgTest, then returns SyncError.
func (p *MockPlatform) Sync(def SyncDef) error {
	if p.SyncArgTest != nil {
		if err := p.SyncArgTest(def); err != nil {
			return err
		}
	}
	return p.SyncError
}
