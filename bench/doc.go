// Command bench does the same work with this library and with what users would pick
// instead, side by side, and writes down what each of them took.
//
//	go run . -out results.json                # measure all cases
//	go run . -out results.json -case sync     # measure one, and keep the results of the others
//	go run . -out results.json -readme FILE   # put the table into FILE, measure nothing
//
// # What is measured
//
// All contenders work on one control plane in one run, one after the other, in an order
// that is different in each round; what is reported is the median of the rounds. Each
// contender runs in a process of its own, built without cgo, so that processor time and
// memory are its own and a new process is really new. The control plane shares the
// processors with them, as in any benchmark on one machine: the figures are good for
// ratios within one run.
//
// All that is measured of a case is one run. Different cases may be measured one by one,
// while the machine is calm, into one file: it takes the results of one machine only, and
// has the day of each case.
//
// The input is YAML as the contender's users have it: files for kubectl, bytes in memory
// for libraries. To parse it is part of the time, to read it from disk is part of
// kubectl's only. To make a client is part of the time where a process begins, the start
// of the process itself is part of kubectl's only. Requests are what the API server
// counted for the kinds at hand, whoever sent them; discovery is not among them.
//
// # The control plane
//
// It is etcd and kube-apiserver. Controllers, which no contender waits for, would act on
// the Deployments while others are measured, for as long as they please.
//
// # Adding a case
//
// A case is a [benchCase]; what it returns are rows of the same form. It needs Linux, for
// the peak of a process's memory.
package main
