package platform

// Yep, resources are defined by opaque bytes. It's up to the platform at the other end
// to do the right thing.
type ResourceDef []byte

// The action(s) to take on a particular resource. This should just be done in order,
// i.e.,:
//
//   - delete if something in Delete
//   - apply if something in Apply
type SyncAction struct {
	// The ID is just a handle for labeling any error. No other meaning is attached to
	// it.
	ResourceID string
	Delete     ResourceDef
	Apply      ResourceDef
}

// A SyncDef lists the actions of a Sync.
type SyncDef struct {
	// The actions to undertake
	Actions []SyncAction
}

// SyncError holds an error for each ResourceID with a failed action. An entry covers all
// failed actions of that ID.
type SyncError map[string]error

// Error lists the failures in the order of their IDs.
func (e SyncError) Error() string { return describe(e) }

// Unwrap returns the causes, so that errors.Is and errors.As reach each of them.
func (e SyncError) Unwrap() []error { return causes(e) }
