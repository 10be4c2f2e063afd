//go:build !unix

package process

// A Folder lets importers of this package compile on this system.
type Folder struct{}

// MkdirTemp returns ErrUnsupported.
func MkdirTemp(string) (*Folder, error) { return nil, ErrUnsupported }

// Path returns nothing: there is no Folder on this system.
func (*Folder) Path() string { return "" }

// Guard returns nothing: there is no Folder on this system.
func (*Folder) Guard() int { return 0 }

// Remove does nothing: there is no Folder on this system.
func (*Folder) Remove() error { return nil }
