// Package kubernetes makes a Kubernetes cluster a [platform.Platform].
//
// A [Cluster] is made from one rest.Config. It speaks to the API server only, with the
// permissions of the credentials in the config, and needs nothing installed in the cluster.
//
// # Concurrency
//
// A Cluster may be used by many goroutines at once. [Options] bound the requests that a call
// has in progress, the time of each request, and the time of the call. A call leaves no
// goroutine behind. Two calls never write one object at the same time.
//
// # Errors
//
// Sync returns a SyncError, Apply an ApplyError, with an entry for each thing that
// failed; the text names the object, what was attempted, and the server's own reason.
// An entry is one line of at most 4 KiB. All other errors are a ClusterError. The errors of
// package k8s.io/apimachinery/pkg/api/errors are in the chain.
//
// A request that failed for a reason that may pass (the server is busy, a webhook is not up, a
// connection was lost) is repeated, with growing pauses, until the time of the call is over. No
// other request is. An object that waits holds up only the objects that depend on it.
//
// # Permissions
//
// The credentials need no more than the methods that are called:
//
//	Ping, Sync, Apply, Export   discovery, which every authenticated user has
//	AllServices, SomeServices   list services, deployments, statefulsets, daemonsets, replicasets
//	                            and replicationcontrollers; get namespaces, if one is named
//	Apply                       get services; list the other five kinds in the namespace; get,
//	                            patch, list and watch the controller
//	these three                 list pods; without it they do not say why pods do not run
//	Sync                        get, list, create and patch of each kind that it applies; get and
//	                            delete of each that it deletes or recreates; watch, with Options.Watch
//	Export                      list of each kind
//
// Where services may be listed in some namespaces only, name them in Options.Namespaces. A Sync
// that may not list gets each object; one that may not get either sends each definition as a dry
// run first, and sends it again only if that would change something. RBAC objects also need what
// they grant, or the verbs bind and escalate.
//
// # Secrets in errors, events and the log
//
// The messages of the API server, of webhooks and of parsers quote the values that they are
// about. Paths and reasons are kept. "(hidden)" replaces the values of Secrets, those of fields
// that often hold a secret (data, a container's environment, arguments and command), and quotes
// of more than one value, such as a template. This holds for errors in the chain too.
//
// # Hostile input
//
// Definitions, names and IDs may come from strangers. A name that cannot be one segment of a
// path is an error, and the path of each request is made of checked segments only. The memory
// that a definition takes is bounded by its size, and the number of objects in a Sync by
// Options.MaxObjects. Of a CustomResourceDefinition in the same Sync, only what the API server
// serves of it is trusted.
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
// Sync reads all definitions first. It then applies and deletes in the order of dependencies,
// not of kinds or of the list, and in parallel where objects are independent:
//
//   - A Namespace is applied before what is in it; a CustomResourceDefinition, until it
//     is established, before the resources it defines; what a pod refers to before what
//     makes the pod, and the limits of a namespace before its pods; a role before its
//     binding; a class before the objects that name it; a Service whose definition states
//     its address or port before those for which the API server chooses one.
//   - Webhook configurations, admission policies and APIServices are applied after all
//     else, and deleted before all else.
//   - Deletions run in the opposite order: dependents go first.
//   - Several actions about one object are executed in the order of the list. Within an
//     action, the deletion is finished, finalizers included, before the object is applied.
//     A deletion on which no other step depends is requested, and not waited for.
//   - An object that is being deleted is created again when it is gone. A namespace that is
//     being deleted is an error at once.
//
// A step that depends on one that has failed is skipped, and its error names that one. In a
// cycle of dependencies the order of the list decides.
//
// # Unchanged objects
//
// Sync sends nothing for an object if applying its definition would certainly change nothing.
// The API server records which fields our field manager owns, and removes a field from that
// record when another writer changes it. So nothing would change if the record is exactly the
// definition's set of fields, and these have the definition's values. For an object that this
// Cluster has applied or compared before, the metadata is enough to tell; for any other, as after
// the start of the process, the whole object is read once. In any doubt the definition is applied.
//
// A Job with ttlSecondsAfterFinished is deleted by the cluster. A Cluster that has applied it does
// not create it again; a new process does, since it does not know.
//
// # Cost
//
// What a call reads depends on what it is asked about, and not on what else is in the cluster.
// Export reads all that it returns, and so does AllServices. Sync lists where a list has few other
// objects, and gets objects by name otherwise. If nothing has changed, and the definitions have
// labels in common, it makes one list of each kind, or in a very large cluster one of each kind and
// namespace. With Options.Watch it sends no request if no change was reported since the last Sync.
//
// In a namespace with many pod controllers, SomeServices and Apply find a controller by its labels
// if they are those of its pods, or by a ReplicaSet or ControllerRevision that it has made, if these
// may be listed. A controller that has neither is found only if there are few of its kind.
//
// # Ownership
//
// Definitions are applied by server-side apply under Options.FieldManager, which takes over the
// fields that they set from other managers (see Options.FailOnConflict). A field that a later
// definition leaves out is removed, unless another manager has it too. Fields that kubectl, Flux,
// Argo CD or Helm applied or set become ours first (see Options.AdoptFieldManagers): the object
// loses no field, and keeps none that the definition leaves out. Defaults that an earlier
// definition caused and the new one forbids, such as the parameters of another strategy, are
// removed.
//
// A null in a definition is a field that is not set, except in a custom resource whose schema
// says that it is nullable. What a Secret has in stringData is applied as its data.
//
// # Annotations
//
// "platform/recreate": "true" in a definition lets Sync delete the object and create it again if
// a field has changed that cannot be changed; without it that is an error. "platform/ignore" on an
// object in the cluster, if it lists "sync", makes Sync leave the object alone. If Sync may not
// read the object, it sees that annotation by a dry run, unless a webhook refuses dry runs.
package kubernetes
