// Package simulate runs services, daemons and NATS servers in one virtual world: discrete
// events in virtual time, everything drawn from a seed. It drives the state machines of
// package protocol through loss, delay, duplication, corruption, freezes, crashes, cut
// connections, partitions of the servers, clocks that differ and jump, and takes down what
// happens; a checker then says which of the protocol's promises was broken.
//
// Run a seed again with
//
//	go test ./natsbus/internal/simulate -run TestSeeds -seed 4711 -v
//
// Faults are broken variants of the protocol. A test shows that the checker finds each.
package simulate
