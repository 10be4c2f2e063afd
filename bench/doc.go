// Command bench does the same work with this library and with its alternatives, and records
// the time and resources of each.
//
//	go run . -out results.json                # measure all cases
//	go run . -out results.json -case sync     # measure one, and keep the results of the others
//	go run . -out results.json -readme FILE   # put the table into FILE, measure nothing
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
