// Command bench does the same work with this library and with its alternatives, and records
// the time and resources of each.
//
//	go run . -out results.json                # measure all cases
//	go run . -out results.json -case sync     # measure one, and keep the results of the others
//	go run . -out results.json -page FILE     # put the table into FILE, measure nothing
//
// # What is measured
//
// All contenders use one control plane in one run, one after the other, in an order that
// differs in each round; the result is the median of the rounds. Each contender runs in a
// process of its own, built without cgo, so that processor time and memory are its own and
// a new process has no state. The control plane shares the processors with them, as in any
// benchmark on one machine: only ratios within one run are meaningful.
//
// The results of a case come from one run. Different cases may be measured separately,
// while the machine is idle, into one file: it holds the results of one machine only, with
// the day of each case.
//
// The input is YAML in the form that the contender's users have: files for kubectl, bytes in
// memory for libraries. The time includes parsing; reading from disk is included only for
// kubectl. If a process is new the time includes the creation of the client; the start of
// the process itself is included only for kubectl. Requests are those that the API server
// counted for the kinds of the manifests, from any client, without discovery.
//
// # The cases
//
//   - sync: manifests are applied for the first time, again, and after a change.
//   - far: the same, with a round trip of 50 ms between the contender and the API server.
//     A proxy delays the bytes and does not limit the bandwidth.
//   - large-cluster: the same, with eight kinds of objects in three namespaces, in clusters
//     that hold others' objects. A part of these are large: Secrets have 40 KB, ConfigMaps
//     4 KB. Then this library is asked for three services, and makes a plan from an Export.
//     Each number of others' objects has its own control plane, see the flag -others. The
//     phases that end in -shared have these objects in the same three namespaces. The figure
//     read_kb is what a library received, encrypted; kubectl's is not measured.
//   - large-objects: of 28 MB of YAML most is definitions of kinds. Then this library makes an
//     Export, and parses the YAML and makes a plan. Before each phase the contender frees its
//     memory: above_mb is the peak of its RSS less the RSS then, and yaml_mb the size of the
//     YAML, or of the Export. This library waits until the kinds are served, as every Sync
//     does, and the bare server-side apply does not.
//   - services, export: a cluster with many services is read.
//   - bus-*: calls over NATS. In bus-restart three servers are away for a second: the time is from
//     their return until they know all instances, the waits of the clients included, and then each
//     instance is called once.
//
// # The control plane
//
// It consists of etcd and kube-apiserver. Controllers would act on the Deployments during
// the measurement of other contenders, and no contender waits for them.
//
// # Adding a case
//
// A case is a [benchCase]; what it returns are rows of the same form. It needs Linux, for
// the peak of a process's memory.
package main
