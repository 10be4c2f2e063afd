// Package kubernetes makes a Kubernetes cluster a [platform.Platform].
//
// A [Cluster] is made from one rest.Config. It speaks to the API server only, at the
// rights of the credentials it is given, and needs nothing installed in the cluster.
//
// # Concurrency
//
// A Cluster may be used by many goroutines at once. Each call bounds the requests that it
// has under way, the time that each takes, and its own time as a whole (see [Options]),
// and leaves no goroutine behind. Two calls never write one object at the same time.
//
// # Errors
//
// Sync returns a SyncError, Apply an ApplyError, with an entry for each thing that
// failed; the text names the object, what was attempted, and the server's own reason.
// An entry is one line of at most 4 KiB. All other errors are a ClusterError. What may pass by
// itself (the server is busy, a webhook is not up, a connection was lost) is tried again, with
// growing pauses, for as long as the call may take; nothing else is. An object that waits
// holds up no other, unless that depends on it. The errors of package
// k8s.io/apimachinery/pkg/api/errors are in the chain.
//
// # Secrets in errors, events and the log
//
// The API server, webhooks and parsers quote what they complain of. Paths and reasons stay;
// left out, as "(hidden)", are the values of Secrets and of fields that often hold one
// (data, a container's environment, arguments and command), and whatever is more than one
// value, such as a template. This holds for errors in the chain too.
//
// # Hostile input
//
// Definitions, names and IDs may come from strangers. A name that cannot be one segment of a
// request's path is an error, and no request has a path but one that was made of checked
// segments. What a definition may become in memory is bounded by its size, and the number of
// objects in a Sync by Options.MaxObjects. Of a CustomResourceDefinition in the same Sync
// only what the API server serves of it is believed.
//
// # Traces
//
// With Options.TracerProvider, a call makes OpenTelemetry spans below that in its context, if that
// is being recorded: see [platform.Trace], which makes it. They are kubernetes.read (the
// definitions), kubernetes.look (what is there), kubernetes.apply, and, for Apply,
// kubernetes.rollout. Below kubernetes.apply are the first 20 objects that failed and the 5 that
// took longest, with the times that they had. Below each are its requests to the API server, which
// is told of them by the header traceparent: the first 50 reads and the first 50 writes of a call.
// The attribute kubernetes.requests of the call's span says how many there were, and
// kubernetes.requests.untraced how many of them have no span. A span ends when the head of the
// answer has come; a watch that serves several calls has none.
//
// Spans name objects, and hold counts and the texts of errors; nothing else of a definition.
//
// # Order of application
//
// Sync reads all definitions first. It then works in the order of their dependencies, not of
// their kinds or of the list, and in parallel wherever it can:
//
//   - A Namespace is applied before what is in it; a CustomResourceDefinition, until it
//     is established, before the resources it defines; what a pod refers to before what
//     makes the pod, and what limits the pods of a namespace before these; a role before
//     its binding; a class before what is of it; a Service that chooses an address or
//     port before those that are given one.
//   - Webhook configurations, admission policies and APIServices are applied after all
//     else, and deleted before all else.
//   - Deletions run in the opposite order: dependents go first.
//   - The same object is dealt with in the order of the list, and within an action its
//     deletion is finished, finalizers and all, before it is applied.
//   - An object that somebody else is deleting is waited for, and then made again. A
//     namespace that is being deleted is an error at once.
//
// A step that depends on one that has failed is not attempted, and its error says so. Where
// dependencies form a circle, the order of the list decides.
//
// # Unchanged objects
//
// Sync sends nothing for an object if it is certain that to apply its definition would change
// nothing. The API server records which fields our manager owns, and any
// other writer who changes one takes it out of that record. So it is enough that the
// record is exactly the definition's set of fields, and that these have the definition's
// values. Of an object that this Cluster has applied or verified before, the metadata
// tells as much; of any other, one look at it as a whole. Any doubt is settled by applying.
//
// A Job with ttlSecondsAfterFinished goes by itself. A Cluster that has applied it as it is
// defined does not make it again when it is gone; a new process, which does not know, does.
//
// # Cost
//
// What a call reads follows what it is asked about, and not what else the cluster holds. Export,
// and AllServices for the namespace or namespaces that it is asked for, read all that they return.
// Sync looks at what it wants by lists, where these hold little else, and by name
// otherwise. Nothing changed and definitions that have labels in common take one list for each
// kind; in a vast cluster, one for each kind and namespace. With Options.Watch, and nothing heard
// since the last Sync, no request is sent. In a namespace with many pod controllers, SomeServices
// and Apply find those that have the labels of their pods themselves, or have made a ReplicaSet or
// ControllerRevision; one that has neither is found only if there are few of its kind.
//
// Sync needs the rights to patch and create and, for deletions, to get and delete. If it may list, it looks
// at many objects at once; if it may only get, at each; if neither, it sends each definition
// as a dry run first, and sends it again only if that would change something.
//
// # Ownership
//
// Definitions are applied by server-side apply under Options.FieldManager, which takes
// the fields that they name from whoever else manages them (see Options.FailOnConflict).
// A field that a later definition leaves out is removed, unless someone else manages it
// too. Fields that kubectl, Flux, Argo CD or Helm applied or set become ours first (see
// Options.AdoptFieldManagers), so that an object changes hands without losing a field and
// without leaving one behind. So do defaults that an earlier definition left behind and the
// new one forbids, such as the parameters of another strategy.
//
// A null in a definition is a field that is not set, except in a custom resource whose schema
// says that it is nullable. What a Secret has in stringData is applied as its data.
//
// # Annotations
//
// Two annotations say how an object is to be dealt with. "platform/recreate", if "true" in
// a definition, lets Sync delete the object and make it again where a field is changed
// that cannot be; without it that is an error. "platform/ignore", if it lists "sync" on the
// live object, makes Sync leave the object alone, also where the object may not be read. Only
// where an admission webhook refuses dry runs too is the annotation not seen.
package kubernetes
