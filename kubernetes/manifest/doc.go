// Package manifest reads Kubernetes definitions, plans what to do about them, and sets
// images in them. It needs no cluster: what it says of one it knows from an Export.
//
// # Input
//
// A manifest is YAML or JSON of any number of documents. A document is one object, or a
// List of them, to any depth. Input is taken to be hostile: an anchor bomb, a nesting
// bomb, a duplicate key and a name that cannot be in a request's path are errors, what a text
// becomes in memory is bounded by its size (see [Parse]), and no input makes it panic.
// YAML is read as kubectl reads it (YAML 1.1: on and yes are booleans), and strictly: a key
// that is there twice is an error. A key that is given explicitly overrides one that a merge
// key (<<) brings, and of several merged maps the earlier goes before the later, wherever the
// merge keys stand. (kubectl lets a merge key override what stands before it.)
//
// As with kubectl, a null in the annotations or labels of an object, or in place of them or of
// the namespace, is not set. An annotation or a label that is a number or a boolean is an
// error that says to quote it, and so is a file that SOPS has encrypted, which has to be
// decrypted first.
//
// A folder may hold more than manifests: [Load] says what it leaves out, and a file
// .platformignore, written as a .gitignore is, names what else to leave out. What looks like
// an object has to be right.
//
// # A GitOps loop
//
// [Load] reads a folder. Platform.Export says what the cluster holds. [Plan] compares the
// two and returns what to Sync, and a [Report] that a person, or a program, can approve.
// Synced, planned again, and nothing changed meanwhile, the plan is empty, unless it has
// objects that an Export does not show: these are applied every time, see [Report.Empty].
//
// # Ownership
//
// A Plan made for a sync set marks each object that it applies, on the object alone and
// never on the pods it makes: the label [SyncSetLabel] names the set, and the annotation
// [DefinitionHashAnnotation] tells which object was marked, and the definition's
// content. What is no longer desired is deleted only if it carries both, for this set and
// for itself: an operator that copies the labels of an object to those it makes, or a
// person who copies an object to another name, gives nothing away. Whatever else is in
// the cluster is changed if a definition names it, and never deleted.
//
// # What counts as a change
//
// An object changes if its definition is not what it was made from, which the hash
// tells, or if something that the definition sets has another value in the cluster. What
// the cluster has besides is a default, or another's doing, and no change; of a field that
// was taken out of a definition the hash tells. Lists of which Kubernetes merges the
// elements (containers, their ports and variables, volumes and so on) are compared by
// their merge keys, all others as a whole. Quantities and base64 are compared by what
// they mean. A field that is empty, false or zero equals one that is not there, since
// the API server leaves such fields out.
//
// # Secrets
//
// Neither the report nor an error shows a value of a Secret, nor anything derived from
// one; it says which keys there are, and which change. Annotations of a Secret that may hold a
// copy of its data are masked too. Nor is a value part of the hash in the annotation. What is
// to be applied holds the values. Errors hold no value of what was read, since what cannot be read
// may be a Secret.
//
// # Concurrency
//
// All functions may be called by many goroutines at once. They do not change their
// arguments, and keep no reference to them; results are the caller's.
//
// # Errors
//
// An error is one line of at most 4 KiB. It says which document is meant, by its file where there is one
// and the line it begins at, and what is wrong. Where several things are wrong, it says
// all of them.
package manifest
